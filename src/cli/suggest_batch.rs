//! `aquatint train --suggest-batch`

use super::device::DeviceFlag;
use super::output::{note, say};
use super::progress::Progress;
use crate::device::Device;
use crate::error::Result;
use crate::training::Run;

/// Measures the gradient noise scale of a run and says which batch follows from it.
pub(super) fn suggest_batch(
    run: &mut Run,
    device: &mut dyn Device,
    flag: &DeviceFlag,
    steps: usize,
    hold: bool,
) -> Result<()> {
    let training = &run.config().training;
    let (batch, times) = (training.train_batch_size, training.gradient_accumulation_steps);
    let what = if hold { "at the run's weights" } else { "while a new run is trained in memory" };
    note!("measuring    {steps} steps of {times} micro-batches of {batch} pictures, {what}");
    note!("device       {}", device.description());
    flag.tune(device, |device, watch| run.tune(device, watch))?;
    let mut progress = Progress::new("measuring", 0, steps);
    let suggestion = run.suggest_batch(device, steps, hold, |done, scale| {
        progress.at(done, || format!("noise scale {},", scale.map_or("none".into(), |scale| format!("{scale:.0}"))));
    })?;
    progress.finish();
    let estimate = suggestion.estimate;
    say!("|G|^2          {:.4e}   the gradient's squared norm", estimate.squared_gradient);
    say!("tr(Sigma)      {:.4e}   the variance of one picture's gradient", estimate.variance);
    match suggestion.noise_scale {
        Some(scale) if scale.is_finite() => say!("noise scale    {scale:.1} pictures, tr(Sigma) / |G|^2"),
        Some(_) => {
            say!("noise scale    beyond what {steps} steps can tell: the noise drowns the gradient; try more --steps")
        }
        None => say!("noise scale    none: there is neither gradient nor noise"),
    }
    let Some(scale) = suggestion.noise_scale.filter(|scale| scale.is_finite()) else { return Ok(()) };
    match suggestion.fitting {
        Some((batch, 1)) => say!("suggestion     --batch {batch}"),
        Some((batch, times)) => {
            say!("suggestion     --batch {batch} --accumulate {times}, {} pictures", suggestion.batch)
        }
        None => say!("suggestion     steps of {} pictures, for which there is no memory here", suggestion.batch),
    }
    say!(
        "Steps of {scale:.0} pictures take about twice the fewest steps and twice the fewest pictures (McCandlish et al. \
         2018); the noise scale grows as training goes on."
    );
    Ok(())
}
