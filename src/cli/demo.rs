//! `aquatint demo`

use super::device::DeviceFlag;
use super::evaluate::{Figures, rows};
use super::output::say;
use super::progress::{Progress, duration};
use super::train::train;
use crate::checkpoint::ModelFolder;
use crate::data::{Dataset, Options};
use crate::diffusion::{Chain, ChainOptions, Request, Sampler, SchedulerConfig, StepNoise};
use crate::error::{Error, Result};
use crate::pictures::{Pictures, save_animation, save_png};
use crate::plan::Storage;
use crate::training::{Run, RunConfig, TrainingConfig, default_unet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Learns real handwritten digits and draws new ones, in a few minutes on any machine
#[derive(clap::Args)]
#[command(after_help = "Example: aquatint demo --out demo")]
pub(super) struct Demo {
    /// Folder for the model and the pictures
    #[arg(long, default_value = "demo", value_name = "DIR")]
    out: PathBuf,
    /// Optimiser steps
    #[arg(long, default_value_t = 2600, value_name = "N")]
    steps: usize,
    /// Makes everything random
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    seed: u64,
    #[command(flatten)]
    device: DeviceFlag,
}

/// What it learns.
const DATA: &str = "digits:even";
/// Pictures that are judged: as many as there are held-out ones.
const JUDGED: usize = 898;
/// Sampling steps, and how many of them lie between two frames of the animation.
const STEPS: usize = 100;
const STEPS_PER_FRAME: usize = 4;
/// Pictures on the sheet and in the animation.
const SHEET: usize = 100;

/// A demo can be run again: an earlier demo's model is replaced, finished or not; anything else is not touched.
fn remove_old_demo(model: &Path) -> Result<()> {
    if !model.exists() {
        return Ok(());
    }
    let config = std::fs::read_to_string(model.join("config.toml")).unwrap_or_default();
    if !config.lines().any(|line| line == format!("dataset = \"{DATA}\"")) {
        return Err(Error::input(format!("{}: exists and is no demo's model; give --out", model.display())));
    }
    std::fs::remove_dir_all(model).map_err(Error::io(model))
}

impl Demo {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let begun = Instant::now();
        let model = self.out.join("model");
        let train_set = Dataset::open(DATA, &Options::default())?;
        let held_out = Dataset::open("digits:odd", &Options::default())?;
        let shape = train_set.shape();
        let config = RunConfig {
            unet: default_unet(shape[0], shape[1], shape[2], None),
            scheduler: SchedulerConfig::default(),
            training: TrainingConfig {
                dataset: DATA.into(),
                max_train_steps: self.steps,
                train_batch_size: 64,
                learning_rate: 1e-3,
                lr_warmup_steps: 100,
                ema_max_decay: 0.995,
                checkpointing_steps: 0,
                seed: self.seed,
                ..TrainingConfig::default()
            },
        };
        config.training.validate()?;
        let mut device = self.device.open()?;
        remove_old_demo(&model)?;
        let training_rows = rows(&train_set, usize::MAX);
        let mut run = Run::start(&model, config, train_set)?;
        train(&mut run, &mut *device, &self.device)?;
        drop(run);

        let model = ModelFolder::read(&model)?;
        let weights = Storage::f32("weights", model.weights.len());
        let size = [shape[0], shape[1]];
        let chain = Chain::new(&model.scheduler, ChainOptions { steps: Some(STEPS), ..ChainOptions::default() })?;
        let mut sampler = Sampler::new(&model.unet, &weights, chain, SHEET, size, StepNoise::Drawn)?;
        self.device.tune(&mut *device, |device, watch| sampler.tune(device, watch))?;
        sampler.load(&mut *device)?;
        device.upload(&weights, 0, &model.weights)?;
        let request = Request { count: JUDGED, seed: self.seed + 1, ..Request::default() };
        let mut progress = Progress::new("drawing", 0, JUDGED.div_ceil(SHEET) * STEPS);
        let mut frames = Vec::new();
        let drawn = sampler.sample(&mut *device, &request, |number, done, look| {
            if number == 0 && done > 0 && (done % STEPS_PER_FRAME == 0 || done == 1) {
                // Half the sheet's scale: a GIF grows with its pixels.
                frames.push(Pictures::new(&look.x()?, SHEET, shape)?.contact_sheet(10, Some(4))?);
            }
            progress.at(number * STEPS + done, || "steps,".into());
            Ok(())
        })?;
        progress.finish();

        let (sheet, animation) = (self.out.join("samples.png"), self.out.join("samples.gif"));
        let first = &drawn[..SHEET * shape.iter().product::<usize>()];
        save_png(&sheet, &Pictures::new(first, SHEET, shape)?.contact_sheet(10, None)?.into())?;
        save_animation(&animation, frames.into_iter().map(Ok), 80)?;
        let dim = shape.iter().product();
        let figures = Figures::measure(&drawn, &rows(&held_out, JUDGED), Some(&training_rows), dim, 3)?;
        figures.print("the held-out digits", "the training digits");
        say!("{} new digits: {}, and how they came out of noise: {}", SHEET, sheet.display(), animation.display());
        say!("finished in {}", duration(begun.elapsed().as_secs_f64()));
        Ok(ExitCode::SUCCESS)
    }
}
