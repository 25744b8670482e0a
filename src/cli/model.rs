//! Reading the model that a command names.

use super::output::note;
use crate::checkpoint::ModelFolder;
use crate::diffusion::SchedulerConfig;
use crate::error::{Error, Result};
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

/// Refuses a folder that holds a model, or what is no folder.
pub(super) fn refuse_model(folder: &Path) -> Result<()> {
    let out = folder.display();
    if folder.is_file() {
        return Err(Error::input(format!("{out}: is a file, expected a folder")));
    }
    const OF_A_MODEL: [&str; 4] = ["model_index.json", "unet", "scheduler", "config.json"];
    match OF_A_MODEL.iter().find(|file| folder.join(file).exists()) {
        Some(found) => Err(Error::input(format!("{out}: holds {found} already; choose a new folder"))),
        None => Ok(()),
    }
}
