//! `aquatint devices`

use super::output::say;
use crate::device::gpu::adapters;
use crate::device::{Device, Host, describe};
use crate::error::Result;
use std::process::ExitCode;

/// Lists the GPUs of this machine and says which device `auto` takes
#[derive(clap::Args)]
#[command(after_help = "Example: aquatint devices")]
pub(super) struct Devices {}

impl Devices {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let host = Host::<f32>::new();
        say!("cpu  {}", host.description());
        if let Some(bytes) = host.available_memory() {
            say!("       available memory   {} MB", bytes >> 20);
        }
        let adapters = adapters();
        for (index, adapter) in adapters.iter().enumerate() {
            say!("gpu:{index}  {}", adapter.name());
            for (what, value) in adapter.facts() {
                say!("       {what:<18} {value}");
            }
        }
        say!("auto takes {}", describe(&adapters).reason);
        Ok(ExitCode::SUCCESS)
    }
}
