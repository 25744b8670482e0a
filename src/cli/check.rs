//! `aquatint check`

use super::device::DeviceFlag;
use super::output::say;
use super::progress::Progress;
use crate::check;
use crate::error::{Error, Result};
use crate::kernels::cases;
use std::process::ExitCode;

/// Runs every kernel on a device and compares it with plain Rust in 64 bits
#[derive(clap::Args)]
#[command(after_help = "Example: aquatint check --device gpu --filter convolution")]
pub(super) struct Check {
    #[command(flatten)]
    device: DeviceFlag,
    /// Only cases whose name contains this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
}

impl Check {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let mut cases = cases();
        let filter = self.filter.as_deref().unwrap_or_default();
        cases.retain(|case| case.name.contains(filter));
        if cases.is_empty() {
            return Err(Error::input(format!("--filter {filter}: no case has this in its name")));
        }
        let mut device = self.device.open()?;
        say!("{}", device.description());
        let mut progress = Progress::new("checking", 0, cases.len());
        let mut outcomes = Vec::new();
        for (index, case) in cases.iter().enumerate() {
            outcomes.extend(check::compare_variants(case, &mut *device).unwrap_or_else(|error| {
                progress.say(&format!("{}: {error}", case.name));
                vec![check::Outcome { name: case.name.clone(), difference: f64::INFINITY, tolerance: case.tolerance }]
            }));
            progress.at(index + 1, || case.name.clone());
        }
        progress.finish();
        say!("{:<60} {:>10} {:>8}", "case", "difference", "allowed");
        for outcome in &outcomes {
            let verdict = if outcome.passed() { "" } else { "  WRONG" };
            say!("{:<60} {:>10.1e} {:>8.0e}{verdict}", outcome.name, outcome.difference, outcome.tolerance);
        }
        let wrong = outcomes.iter().filter(|outcome| !outcome.passed()).count();
        say!("{} cases in {} ways, {wrong} wrong", cases.len(), outcomes.len());
        Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
