//! `aquatint bench`

use super::device::DeviceFlag;
use super::output::{note, say};
use super::progress::Progress;
use crate::bench::{self, Bench, Ceilings, Measurement, Profile, Runs, Share};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::nn::Recompute;
use crate::training::Precision;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Measures kernels and whole steps, beside what the device can do at most
#[derive(clap::Args)]
#[command(after_help = "\
Rows: train/, forward/ and sample/ are whole steps of three networks; block/, convolution/ and matmul/ are shapes that \
other programs are compared on; TINY/, MNIST/ and CIFAR/ are the calls that the networks make, each alone; case/ are the \
cases of the tests. A step or a block is timed from its start until the device is done. A kernel is repeated in one run \
until that takes 3 ms, so that what it costs to start a run does not count.

GB/s count what a kernel's tensors hold, once for reading and once for writing. The share is that of the nearer ceiling, \
multiply-adds in registers or copying in memory, both measured first; small tensors stay in caches, which can be faster. \
Peak memory is that of the process on the cpu, and what the driver has given on a GPU.

Example: aquatint bench --filter train/MNIST --profile")]
pub(super) struct BenchCommand {
    #[command(flatten)]
    device: DeviceFlag,
    /// Only rows whose name contains this; may be given several times
    #[arg(long, value_name = "TEXT")]
    filter: Vec<String>,
    /// What training steps compute again in their backward calls
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    recompute: Recompute,
    /// What training steps keep activations in; mixed is half precision, on a GPU that has it
    #[arg(long, value_enum, default_value_t, value_name = "PRECISION")]
    precision: Precision,
    /// Pictures in a step, instead of each network's own number
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Time for a row and for each ceiling, in seconds; three runs are taken anyway
    #[arg(long, default_value_t = 0.5, value_name = "SECONDS")]
    seconds: f64,
    /// Prints one JSON object a line instead of a table
    #[arg(long, conflicts_with = "profile")]
    json: bool,
    /// What --json printed earlier, to print ratios of the times, new to old
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Shows which kernels a row's time goes to
    #[arg(long)]
    profile: bool,
    /// Measures every variant of the GPU's kernels, instead of the one chosen for the sizes
    #[arg(long)]
    variants: bool,
    /// Prints the rows' names and does nothing
    #[arg(long)]
    list: bool,
}

impl BenchCommand {
    pub(super) fn run(&self) -> Result<ExitCode> {
        if !(self.seconds >= 0.0 && self.seconds.is_finite()) {
            return Err(Error::input(format!("--seconds {}, expected 0 or more", self.seconds)));
        }
        let benches = self.chosen()?;
        if self.list {
            benches.iter().for_each(|bench| say!("{}", bench.name));
            return Ok(ExitCode::SUCCESS);
        }
        let old = self.compare.as_deref().map(read_medians).transpose()?;
        let mut device = self.device.open()?;
        let description = device.description();
        if self.precision == Precision::Mixed && !device.has_half_precision() {
            return Err(Error::input(format!(
                "--precision mixed takes a GPU with 16-bit floats in shaders; this is {description}"
            )));
        }
        let ceilings = Ceilings::measure(&mut *device, self.seconds)?;
        if !self.json {
            let (flops, bytes) = (ceilings.flop_rate / 1e9, ceilings.byte_rate / 1e9);
            say!("{description}");
            say!("ceilings: {flops:.1} GFLOP/s of multiply-adds, {bytes:.1} GB/s of copying");
        }
        let runs = Runs::within(self.seconds);
        if self.profile {
            for bench in &benches {
                self.tune(bench, &mut *device)?;
                print_profile(&bench.name, &bench::profile(bench, runs, &mut *device)?, &ceilings);
            }
            return Ok(ExitCode::SUCCESS);
        }
        let width = benches.iter().map(|bench| bench.name.len()).max().unwrap_or(0).max(20);
        if !self.json {
            say!("{}", header(width, old.is_some()));
        }
        let mut failed = 0;
        let mut progress = Progress::new("measuring", 0, benches.len());
        for (index, bench) in benches.iter().enumerate() {
            progress.at(index, || bench.name.clone());
            match self.measure(bench, runs, &mut *device) {
                Ok(rows) => {
                    for (name, measured) in rows {
                        let ratio =
                            old.as_ref().and_then(|old| old.get(&name)).map(|old| 1e3 * measured.median() / old);
                        let row = Row { name, whole: bench.whole, measured, ceilings: &ceilings };
                        let line = if self.json { row.json(&description, ratio) } else { row.line(width, ratio) };
                        progress.result(&line);
                    }
                }
                // A row that does not fit leaves the others.
                Err(error @ (Error::OutOfMemory(_) | Error::Input(_))) => {
                    failed += 1;
                    progress.say(&format!("{}: {error}", bench.name));
                }
                Err(error) => return Err(error),
            }
        }
        progress.finish();
        if failed > 0 {
            note!("{failed} of {} rows could not be measured", benches.len());
        }
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// What a row runs with on this device: measured, if that was not done before.
    fn tune(&self, bench: &Bench, device: &mut dyn Device) -> Result<()> {
        if device.has_variants() {
            let plan = bench.work()?.plan;
            self.device.tune(device, |device, watch| device.tune(&[&plan], watch))?;
        }
        Ok(())
    }

    /// A row as it runs once its kernels were chosen or, if that is asked for, in each of its kernels' variants.
    fn measure(&self, bench: &Bench, runs: Runs, device: &mut dyn Device) -> Result<Vec<(String, Measurement)>> {
        if !(self.variants && device.has_variants()) {
            self.tune(bench, device)?;
            return Ok(vec![(bench.name.clone(), bench::measure(bench, runs, device)?)]);
        }
        let plan = bench.work()?.plan;
        let numbers = device.variant_numbers(&plan);
        let several = numbers.len() > 1;
        let rows = (numbers.into_iter())
            .map(|number| {
                device.force_variant(Some(number));
                let measured = bench::measure(bench, runs, device)?;
                let name = match device.variant_names(&plan, number) {
                    names if several => format!("{}[{}]", bench.name, names.join(",")),
                    _ => bench.name.clone(),
                };
                Ok((name, measured))
            })
            .collect();
        device.force_variant(None);
        rows
    }

    /// The rows that were asked for.
    fn chosen(&self) -> Result<Vec<Bench>> {
        let mut benches =
            bench::list(&bench::Options { batch: self.batch, recompute: self.recompute, precision: self.precision })?;
        if let Some(filter) = self.filter.iter().find(|filter| !benches.iter().any(|b| b.name.contains(&***filter))) {
            let groups: BTreeSet<&str> = benches.iter().filter_map(|bench| bench.name.split('/').next()).collect();
            let groups = groups.into_iter().collect::<Vec<_>>().join("/, ");
            return Err(Error::input(format!(
                "--filter {filter}: no row has this in its name; they begin with {groups}/, and --list prints them all"
            )));
        }
        if !self.filter.is_empty() {
            benches.retain(|bench| self.filter.iter().any(|filter| bench.name.contains(filter)));
        }
        Ok(benches)
    }
}

/// The medians, in milliseconds, of what `--json` printed.
fn read_medians(path: &Path) -> Result<HashMap<String, f64>> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    let mut medians = HashMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = || {
            let place = format!("{}: line {}", path.display(), number + 1);
            Error::input(format!("{place} is not what bench --json prints: expected an object with name and median_ms"))
        };
        let row: Value = serde_json::from_str(line).map_err(|_| wrong())?;
        let (Some(name), Some(median)) = (row["name"].as_str(), row["median_ms"].as_f64()) else { return Err(wrong()) };
        medians.insert(name.to_string(), median);
    }
    if medians.is_empty() {
        return Err(Error::input(format!("{}: holds no rows, expected what bench --json prints", path.display())));
    }
    Ok(medians)
}

fn header(width: usize, compared: bool) -> String {
    let compared = if compared { "  new/old" } else { "" };
    let [ms, flops, bytes, share, planned, peak] = ["median ms", "GFLOP/s", "GB/s", "share", "planned MB", "peak MB"];
    format!("{:<width$} {ms:>11} {flops:>9} {bytes:>8} {share:>6} {planned:>11} {peak:>9}{compared}", "row")
}

/// A row with its figures.
struct Row<'a> {
    name: String,
    whole: bool,
    measured: Measurement,
    ceilings: &'a Ceilings,
}

impl Row<'_> {
    fn milliseconds(&self) -> f64 {
        1e3 * self.measured.median()
    }

    fn share(&self) -> f64 {
        self.ceilings.share(self.measured.flop_rate(), self.measured.byte_rate())
    }

    /// Peak memory is a whole step's; a kernel's is that of the program around it.
    fn peak(&self) -> Option<u64> {
        self.measured.peak.filter(|_| self.whole)
    }

    fn line(&self, width: usize, ratio: Option<f64>) -> String {
        let megabytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
        let (flops, bytes) = (self.measured.flop_rate() / 1e9, self.measured.byte_rate() / 1e9);
        let peak = self.peak().map(megabytes).unwrap_or_default();
        let line = format!(
            "{:<width$} {:>11.4} {flops:>9.2} {bytes:>8.2} {:>5.1}% {:>11} {peak:>9}",
            self.name,
            self.milliseconds(),
            100.0 * self.share(),
            megabytes(self.measured.planned),
        );
        ratio.map_or(line.clone(), |ratio| format!("{line} {ratio:>8.3}"))
    }

    fn json(&self, device: &str, ratio: Option<f64>) -> String {
        let rounded = |value: f64| format!("{value:.6}").parse::<f64>().unwrap_or(value);
        let seconds = &self.measured.seconds;
        let mut row = json!({
            "name": self.name,
            "device": device,
            "median_ms": rounded(self.milliseconds()),
            "min_ms": rounded(1e3 * seconds[0]),
            "max_ms": rounded(1e3 * seconds[seconds.len() - 1]),
            "runs": seconds.len(),
            "gflop_per_s": rounded(self.measured.flop_rate() / 1e9),
            "gb_per_s": rounded(self.measured.byte_rate() / 1e9),
            "share": rounded(self.share()),
            "bytes": self.measured.traffic,
            "planned_bytes": self.measured.planned,
            "peak_bytes": self.peak(),
            "ceiling_gflop_per_s": rounded(self.ceilings.flop_rate / 1e9),
            "ceiling_gb_per_s": rounded(self.ceilings.byte_rate / 1e9),
        });
        if let Some(ratio) = ratio {
            row["ratio"] = json!(rounded(ratio));
        }
        row.to_string()
    }
}

/// Lines of the list by kernel and sizes that are worth reading.
const SHAPES: usize = 40;

fn print_profile(name: &str, profile: &Profile, ceilings: &Ceilings) {
    let (sum, step) = (1e3 * profile.sum(), 1e3 * profile.step);
    say!("{name}: {step:.3} ms a step; its calls take {sum:.3} ms together, {:.3} of it", sum / step);
    say!("the device is idle for {:.1}% of the step", 100.0 * (1.0 - sum / step).max(0.0));
    print_shares("by kernel", &profile.kernels, profile.sum(), ceilings);
    let shapes = &profile.shapes[..SHAPES.min(profile.shapes.len())];
    print_shares("by kernel and sizes", shapes, profile.sum(), ceilings);
    if shapes.len() < profile.shapes.len() {
        say!("and {} more", profile.shapes.len() - shapes.len());
    }
}

fn print_shares(title: &str, shares: &[Share], sum: f64, ceilings: &Ceilings) {
    let name = |share: &Share| match share.sizes.is_empty() {
        true => share.kernel.clone(),
        false => format!("{}/{}", share.kernel, share.sizes),
    };
    let width = shares.iter().map(|share| name(share).len()).max().unwrap_or(0).max(title.len());
    let [calls, ms, of_step, flops, bytes, share] = ["calls", "ms", "of step", "GFLOP/s", "GB/s", "share"];
    say!("");
    say!("{title:<width$} {calls:>6} {ms:>10} {of_step:>8} {flops:>9} {bytes:>8} {share:>6}");
    for share in shares {
        let rate = |amount: u64| amount as f64 / share.seconds.max(1e-12);
        let (flops, bytes) = (rate(share.flops), rate(share.traffic));
        say!(
            "{:<width$} {:>6} {:>10.3} {:>7.1}% {:>9.2} {:>8.2} {:>5.1}%",
            name(share),
            share.calls,
            1e3 * share.seconds,
            100.0 * share.seconds / sum,
            flops / 1e9,
            bytes / 1e9,
            100.0 * ceilings.share(flops, bytes),
        );
    }
}
