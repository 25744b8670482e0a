//! `--device`: opening it, and measuring once which variants of the kernels are fastest on it.

use super::output::note;
use super::progress::{Progress, duration};
use crate::device::{Choices, Device};
use crate::diffusion::likelihood::DeviceNetwork;
use crate::error::{Error, Result};
use crate::nn::Forward;

/// Where the work is done; the same flags on every command.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct DeviceFlag {
    /// auto, cpu, gpu, gpu:<index> or gpu:<part of a name>; `gpu` alone means hardware
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: String,
    /// Takes every GPU kernel as it comes, instead of measuring once which of its variants is fastest
    #[arg(long)]
    no_tuning: bool,
}

impl DeviceFlag {
    /// Opens the device, with what was measured on it before.
    pub(super) fn open(&self) -> Result<Box<dyn Device>> {
        let mut device = crate::device::choose(&self.device)?;
        if !self.no_tuning {
            device.adopt(&Choices::cached(&device.description()));
        }
        Ok(device)
    }

    /// Tunes and loads a recording of a network for batches of so many pictures.
    pub(super) fn load<'a>(
        &self,
        device: &'a mut dyn Device,
        forward: &'a Forward,
        weights: &[f32],
        batch: usize,
    ) -> Result<DeviceNetwork<'a>> {
        self.tune(device, |device, watch| device.tune(&[&forward.plan], watch))?;
        DeviceNetwork::load(device, forward, weights).map_err(|error| match error {
            Error::OutOfMemory(why) => Error::OutOfMemory(format!("batch {batch}: {why}; try a smaller --batch")),
            other => other,
        })
    }

    /// Lets `measure` measure what was not measured before, with a progress bar, and keeps it for the next time.
    pub(super) fn tune(
        &self,
        device: &mut dyn Device,
        measure: impl FnOnce(&mut dyn Device, &mut dyn FnMut(usize, usize)) -> Result<Choices>,
    ) -> Result<()> {
        if self.no_tuning {
            return Ok(());
        }
        let mut progress: Option<Progress> = None;
        let measured = measure(device, &mut |done, total| {
            progress.get_or_insert_with(|| Progress::new("tuning", 0, total)).at(done, || "kernels".into());
        })?;
        if let Some(progress) = progress {
            let took = duration(progress.seconds());
            progress.finish();
            note!("tuning       the fastest kernels for this device were measured in {took}, and are kept");
            if let Err(error) = measured.cache(&device.description()) {
                note!("tuning       they are kept for this run alone: {error}");
            }
        }
        Ok(())
    }
}
