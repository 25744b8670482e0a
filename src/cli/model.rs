//! Reading the model that a command names.

use super::output::note;
use crate::checkpoint::ModelFolder;
use crate::diffusion::SchedulerConfig;
use crate::error::Result;
use std::path::Path;

/// Says what diffusers can do with a model in continuous time.
pub(super) fn note_for_diffusers(scheduler: &SchedulerConfig) {
    scheduler.note_for_diffusers().into_iter().for_each(|line| note!("note: {line}"));
}

/// Reads a model and its scheduler; a line says if there is none.
pub(super) fn read_model(path: &Path) -> Result<ModelFolder> {
    note_default_scheduler(path)?;
    ModelFolder::read(path)
}

/// Says which scheduler a model without one is given.
pub(super) fn note_default_scheduler(path: &Path) -> Result<()> {
    if ModelFolder::read_scheduler(path)?.is_none() {
        note!("{}: no scheduler_config.json; taking a DDPMScheduler's defaults", path.display());
    }
    Ok(())
}
