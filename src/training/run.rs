//! A training run: pictures in the run's order, steps, checkpoints, and everything that its folder holds.

use super::config::RunConfig;
use super::order::Order;
use super::state::{FILE, TrainingState};
use super::trainer::{MemoryTable, Trainer};
use crate::atomic_file;
use crate::checkpoint::ModelFolder;
use crate::data::Dataset;
use crate::device::Device;
use crate::diffusion::{Request, Sampler};
use crate::error::{Error, Result};
use crate::pictures::{Pictures, loss_curve};
use std::fs;
use std::path::{Path, PathBuf};

/// Pictures on the sheet beside a checkpoint, and the sampling steps that they are drawn in.
const SHEET: usize = 16;
const SHEET_STEPS: usize = 50;

/// What a run tells while it goes.
#[derive(Clone, Copy, Debug)]
pub enum Progress {
    /// A step was taken.
    Step {
        /// Steps taken so far.
        done: usize,
        /// Its loss.
        loss: f32,
    },
    /// A sheet of samples is being drawn for a checkpoint.
    Drawing,
    /// A checkpoint was written.
    Checkpoint {
        /// Steps taken so far.
        done: usize,
    },
}

/// A run with its pictures.
pub struct Run {
    folder: PathBuf,
    config: RunConfig,
    dataset: Dataset,
    trainer: Trainer,
    sampler: Sampler,
    order: Order,
    step: usize,
    losses: Vec<f32>,
    /// The buffers to begin with; taken when they are uploaded.
    buffers: Option<Vec<(&'static str, Vec<f32>)>>,
}

impl Run {
    /// A new run. Writes nothing yet.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if the folder holds a model already, or the pictures do not fit the network.
    pub fn start(folder: &Path, config: RunConfig, dataset: Dataset) -> Result<Self> {
        if folder.join(FILE).exists() {
            let folder = folder.display();
            return Err(Error::input(format!("{folder}: holds a training run already; --resume continues it")));
        }
        if folder.join("model_index.json").exists() || folder.is_file() {
            return Err(Error::input(format!("{}: holds a model already; choose a new folder", folder.display())));
        }
        let mut run = Self::new(folder, config, dataset)?;
        let weights = run.trainer.unet().parameters().initialize(run.config.training.seed);
        run.buffers = Some(vec![("parameters", weights.clone()), ("ema", weights)]);
        Ok(run)
    }

    /// Continues a run from its folder's state.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if the pictures are not of the size that the run has learnt.
    pub fn resume(folder: &Path, mut state: TrainingState, dataset: Dataset) -> Result<Self> {
        if [dataset.height, dataset.width] != state.height_width {
            let [height, width] = state.height_width;
            return Err(Error::input(format!(
                "{}: pictures of {}x{}, the run was started with {height}x{width}",
                dataset.name, dataset.height, dataset.width
            )));
        }
        let mut run = Self::new(folder, state.config, dataset)?;
        run.step = state.step;
        run.losses = state.losses;
        let names = run.trainer.buffers().map(|(name, _)| name);
        run.buffers = Some(names.into_iter().filter_map(|name| Some((name, state.buffers.remove(name)?))).collect());
        Ok(run)
    }

    fn new(folder: &Path, config: RunConfig, dataset: Dataset) -> Result<Self> {
        let size = [dataset.height, dataset.width];
        config.unet.check_size(size[0], size[1], &dataset.name)?;
        if dataset.channels != config.unet.in_channels || config.unet.in_channels != config.unet.out_channels {
            return Err(Error::input(format!(
                "{}: pictures of {} channels, the network has in_channels {} and out_channels {}",
                dataset.name, dataset.channels, config.unet.in_channels, config.unet.out_channels
            )));
        }
        if let Some(classes) = config.unet.num_class_embeds {
            if dataset.labels.is_none() {
                return Err(Error::input(format!("{}: no labels to learn classes from", dataset.name)));
            }
            if dataset.classes() > classes {
                let found = dataset.classes();
                return Err(Error::input(format!("{}: {found} classes, num_class_embeds is {classes}", dataset.name)));
            }
        }
        let trainer = Trainer::new(&config, size)?;
        let batch = SHEET.min(config.training.train_batch_size);
        let sampler = Sampler::new(trainer.unet(), trainer.ema(), &config.scheduler, batch, size)?;
        let order = Order::new(config.training.seed, dataset.len());
        let folder = folder.to_path_buf();
        Ok(Self { folder, config, dataset, trainer, sampler, order, step: 0, losses: Vec::new(), buffers: None })
    }

    /// What the run was started with.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// Lets the run go on to another number of steps.
    pub fn set_steps(&mut self, steps: usize) {
        self.config.training.max_train_steps = steps;
    }

    /// Steps taken so far.
    pub fn step(&self) -> usize {
        self.step
    }

    /// The loss of every step so far.
    pub fn losses(&self) -> &[f32] {
        &self.losses
    }

    /// The pictures.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// The training step.
    pub fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    /// Planned bytes: the training step's and what drawing the sheets needs beside it.
    pub fn memory(&self) -> MemoryTable {
        let mut table = self.trainer.memory();
        table.activations += self.sampler.memory().activations;
        table
    }

    /// Allocates everything that the run will need.
    ///
    /// # Errors
    /// [`OutOfMemory`](Error::OutOfMemory) saying which batch would fit; the device's.
    pub fn load(&mut self, device: &mut dyn Device) -> Result<()> {
        let loaded = self.trainer.load(device).and_then(|()| self.sampler.load(device));
        if let Err(Error::OutOfMemory(why)) = loaded {
            self.trainer.unload(device);
            let batch = self.config.training.train_batch_size;
            let advice = match self.batch_that_fits(device) {
                Some(fitting) => format!("a batch of {fitting} would fit"),
                None => "not even a batch of 1 would fit".into(),
            };
            return Err(Error::OutOfMemory(format!("batch {batch}: {why}; {advice}")));
        }
        loaded?;
        for (name, data) in self.buffers.take().unwrap_or_default() {
            if let Some((_, storage)) = self.trainer.buffers().into_iter().find(|(buffer, _)| *buffer == name) {
                device.upload(storage, 0, &data)?;
            }
        }
        Ok(())
    }

    /// The largest half, quarter, ... of the batch that the device has room for.
    fn batch_that_fits(&self, device: &mut dyn Device) -> Option<usize> {
        let mut batch = self.config.training.train_batch_size / 2;
        while batch > 0 {
            let mut config = self.config.clone();
            config.training.train_batch_size = batch;
            let mut smaller = Self::new(&self.folder, config, self.dataset.rows(|index| index == 0)).ok()?;
            let fits = smaller.trainer.load(device).and_then(|()| smaller.sampler.load(device)).is_ok();
            smaller.trainer.unload(device);
            if fits {
                return Some(batch);
            }
            batch /= 2;
        }
        None
    }

    /// Takes the steps that are left, writing a checkpoint every `checkpointing_steps` and at the end.
    ///
    /// # Errors
    /// The device's; [`Io`](Error::Io); [`Input`](Error::Input) if the loss is not finite.
    pub fn train(&mut self, device: &mut dyn Device, mut tell: impl FnMut(Progress)) -> Result<()> {
        fs::create_dir_all(&self.folder).map_err(Error::io(&self.folder))?;
        atomic_file::write(&self.folder.join("config.toml"), self.config.to_toml()?.as_bytes())?;
        let training = self.config.training.clone();
        let batch = training.train_batch_size;
        let picture = self.dataset.picture_len();
        let mut pictures = vec![0.0; batch * picture];
        let mut labels = vec![0; batch];
        while self.step < training.max_train_steps {
            for (index, picture) in pictures.chunks_exact_mut(picture).enumerate() {
                let position = self.step * batch + index;
                let number = self.order.picture(position);
                self.dataset.picture(number, training.random_flip && self.order.is_flipped(position), picture);
                labels[index] = self.dataset.labels.as_ref().map_or(0, |labels| labels[number]);
            }
            let loss = self.trainer.step(device, self.step, &pictures, &labels)?;
            self.losses.push(loss);
            self.step += 1;
            tell(Progress::Step { done: self.step, loss });
            let due = training.checkpointing_steps > 0 && self.step.is_multiple_of(training.checkpointing_steps);
            if due || self.step == training.max_train_steps {
                tell(Progress::Drawing);
                self.checkpoint(device)?;
                tell(Progress::Checkpoint { done: self.step });
            }
        }
        Ok(())
    }

    /// Writes the folder: pictures, model, and last, which is the commit, the state.
    fn checkpoint(&mut self, device: &mut dyn Device) -> Result<()> {
        let seed = self.config.training.seed;
        let steps = SHEET_STEPS.min(self.config.scheduler.num_train_timesteps);
        let request = Request { count: SHEET, steps, seed, ..Request::default() };
        let drawn = self.sampler.sample(device, &request, |_, _, _| Ok(()))?;
        let shape = self.dataset.shape();
        let sheet = Pictures::new(&drawn, SHEET, shape)?.contact_sheet(0, None)?;
        let sheets = self.folder.join("samples");
        fs::create_dir_all(&sheets).map_err(Error::io(&sheets))?;
        crate::pictures::save_png(&sheets.join(format!("step-{:07}.png", self.step)), &sheet.into())?;
        loss_curve(&self.folder.join("loss.png"), &self.losses, &format!("loss, {}", self.dataset.name))?;

        let mut buffers = std::collections::HashMap::new();
        for (name, storage) in self.trainer.buffers() {
            let data = device.download(storage)?;
            if let Some(bad) = data.iter().find(|value| !value.is_finite()) {
                let step = self.step;
                return Err(Error::input(format!(
                    "step {step}: the {name} hold {bad}; a smaller learning rate may help, the last checkpoint is whole"
                )));
            }
            buffers.insert(name.to_string(), data);
        }
        let state = TrainingState {
            config: self.config.clone(),
            step: self.step,
            height_width: [self.dataset.height, self.dataset.width],
            buffers,
            losses: self.losses.clone(),
        };
        write_model(&self.folder, &state)?;
        state.write(&self.folder, self.trainer.unet().parameters())
    }
}

/// Writes the parts of a run's folder that follow from its state: the configuration and the model.
///
/// # Errors
/// [`Io`](Error::Io).
pub fn write_model(folder: &Path, state: &TrainingState) -> Result<()> {
    atomic_file::write(&folder.join("config.toml"), state.config.to_toml()?.as_bytes())?;
    let unet = crate::nn::UNet::new(&state.config.unet)?;
    let missing = || Error::Device("the state has no moving average".into());
    let weights = state.buffers.get("ema").cloned().ok_or_else(missing)?;
    ModelFolder { unet, scheduler: state.config.scheduler.clone(), weights }.write(folder)
}
