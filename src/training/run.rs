//! A training run: pictures in the run's order, steps, checkpoints, and everything that its folder holds.

use super::averages::AverageKind;
use super::config::{Precision, TrainingConfig};
use super::distillation::DistillationTable;
use super::history::{History, log_csv, step_estimate};
use super::network::Trained;
use super::noise_scale::{Estimate, NoiseScale};
use super::order::Order;
use super::run_config::RunConfig;
use super::snapshots;
use super::state::{FILE, TrainingState, Tuned};
use super::trainer::{MemoryTable, StepRecord, Trainer};
use crate::atomic_file;
use crate::checkpoint::{ClassifierFolder, ModelFolder};
use crate::data::Dataset;
use crate::device::{Choices, Device};
use crate::diffusion::{Chain, ChainOptions, Request, Sampler, StepNoise};
use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;
use crate::nn::{Recompute, SampleSize};
use crate::pictures::{Pictures, loss_curve};
use crate::plan::Plan;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Pictures on the sheet beside a checkpoint, and the sampling steps that they are drawn in.
const SHEET: usize = 16;
const SHEET_STEPS: usize = 50;

/// What a run tells while it goes.
#[derive(Clone, Debug)]
pub enum Progress {
    /// A step was taken.
    Step {
        /// Steps taken so far.
        done: usize,
        /// Its loss.
        loss: f32,
        /// With gradient accumulation, the smoothed gradient noise scale in pictures.
        noise_scale: Option<f64>,
    },
    /// A sheet of samples is being drawn for a checkpoint.
    Drawing,
    /// Something did not work that the run can go on without.
    Warning(String),
    /// A checkpoint was written.
    Checkpoint {
        /// Steps taken so far.
        done: usize,
    },
}

/// The pictures that a plan of the training step takes, NHWC in [-1, 1], and their labels.
pub(super) struct Batch {
    pictures: Vec<f32>,
    labels: Vec<u32>,
}

/// A run with its pictures.
pub struct Run {
    folder: PathBuf,
    config: RunConfig,
    dataset: Dataset,
    /// The data set's, made once: it reads every picture.
    fingerprint: String,
    trainer: Trainer,
    /// What draws the sheets, where the network draws.
    sampler: Option<Sampler>,
    order: Order,
    step: usize,
    losses: Vec<f32>,
    history: History,
    noise_scale: NoiseScale,
    /// The loss's scale to continue with, in mixed precision.
    loss_scale: Vec<f32>,
    /// What the run was computed with before.
    tuned: Tuned,
    /// The buffers to continue with; taken when they are uploaded.
    buffers: BTreeMap<String, Vec<f32>>,
    /// The teacher's weights, of a run that has one.
    teacher: Vec<f32>,
}

impl Run {
    /// A new run. Writes nothing yet.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if the folder holds a model already, or the pictures do not fit the network.
    pub fn start(folder: &Path, config: RunConfig, dataset: Dataset) -> Result<Self> {
        let refuse = |why: &str| Err(Error::input(format!("{}: {why}", folder.display())));
        if folder.is_file() {
            return refuse("is a file, expected a folder");
        }
        if folder.join(FILE).exists() {
            return refuse("holds a training run already; --resume continues it");
        }
        if ["model_index.json", "unet/config.json", "config.json"].iter().any(|part| folder.join(part).exists()) {
            return refuse("holds a model already; choose a new folder");
        }
        let run = Self::new(folder, config, dataset)?;
        run.config.check_written()?;
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
        if run.fingerprint != state.fingerprint {
            let (name, found, was) = (&run.dataset.name, &run.fingerprint, &state.fingerprint);
            return Err(Error::input(format!("{name}: {found}; the run was started with {was}")));
        }
        run.step = state.step;
        run.losses = state.losses;
        run.noise_scale = state.history.noise_scale(&run.config.training);
        run.history = state.history;
        run.loss_scale = state.loss_scale;
        let naming = |error: Error| Error::input(format!("{}: {error}", folder.join(FILE).display()));
        run.trainer.set_timestep_losses(state.timestep_losses).map_err(naming)?;
        run.tuned = state.tuned;
        run.buffers = std::mem::take(&mut state.buffers);
        Ok(run)
    }

    /// A new run that is only measured: it has no folder.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if the pictures do not fit the network.
    pub fn unwritten(config: RunConfig, dataset: Dataset) -> Result<Self> {
        Self::new(Path::new(""), config, dataset)
    }

    /// Begins a new run with these weights instead of random ones; the moving average begins with them too.
    ///
    /// # Errors
    /// [`Shape`](Error::Shape) if they are not those of the configuration's network.
    pub fn begin_with(&mut self, weights: Vec<f32>) -> Result<()> {
        let (found, expected) = (weights.len(), self.trainer.parameters().len());
        if found != expected {
            let message = format!("a flat buffer of {found} weights, expected {expected}");
            return Err(Error::Shape { op: "training run", message });
        }
        self.buffers = BTreeMap::from([("parameters".into(), weights)]);
        Ok(())
    }

    /// The weights of the teacher, for a run that has one; to be called before [`Run::load`].
    ///
    /// # Errors
    /// [`Input`](Error::Input) if they are not what the run was started with.
    pub fn set_teacher(&mut self, weights: Vec<f32>) -> Result<()> {
        let found = Fingerprint::default().floats(&weights).text();
        match &self.config.training.distillation {
            Some(table) if table.teacher_checksum == found => {
                self.teacher = weights;
                Ok(())
            }
            Some(DistillationTable { teacher, teacher_checksum: was, .. }) => Err(Error::input(format!(
                "{teacher}: weights with checksum {found}, expected those that the run was started with, {was}"
            ))),
            None => Err(Error::input("the run has no teacher")),
        }
    }

    fn new(folder: &Path, config: RunConfig, dataset: Dataset) -> Result<Self> {
        let mut config = config.resolved();
        config.scheduler.check("scheduler")?;
        let size = [dataset.height, dataset.width];
        let of_model = config.unet.sample_size.map_or(size, SampleSize::height_width);
        if of_model != size {
            return Err(Error::input(format!(
                "{}: pictures of {}x{}, sample_size is {}x{}",
                dataset.name, size[0], size[1], of_model[0], of_model[1]
            )));
        }
        config.unet.sample_size.get_or_insert(SampleSize::new(size));
        config.unet.check_size(size[0], size[1], &dataset.name)?;
        let (inputs, outputs) = (config.unet.in_channels, config.unet.out_channels);
        let learned = config.scheduler.learns_variances();
        let draws = config.training.classifier.is_none();
        let expected = if learned { 2 * dataset.channels } else { dataset.channels };
        if dataset.channels != inputs || (draws && outputs != expected) {
            let why = if learned { ", twice as many as pictures have, for variances are learned" } else { "" };
            return Err(Error::input(format!(
                "{}: pictures of {} channels, the network has in_channels {inputs} and out_channels {outputs}, expected \
                 {} and {expected}{why}",
                dataset.name, dataset.channels, dataset.channels
            )));
        }
        let trainer = Trainer::new(&config, size)?;
        if let Some(classes) = trainer.network().classes() {
            if dataset.labels.is_none() {
                return Err(Error::input(format!("{}: no labels to learn classes from", dataset.name)));
            }
            let (name, found) = (&dataset.name, dataset.classes());
            if found > classes {
                let key = if draws { "num_class_embeds is" } else { "the classifier's class_names are" };
                return Err(Error::input(format!("{name}: {found} classes, {key} {classes}")));
            }
            if let Some(unconditional) = config.unet.unconditional_class.filter(|&class| class < found) {
                return Err(Error::input(format!(
                    "{name}: {found} classes, of which unconditional_class, {unconditional}, is one; expected {found} or more"
                )));
            }
        }
        let sampler = match trainer.network() {
            Trained::UNet(unet) => {
                let batch = SHEET.min(config.training.train_batch_size);
                let scheduler = config.drawing_scheduler()?;
                let steps = match &config.training.distillation {
                    // At timesteps that it has learnt.
                    Some(table) => std::iter::successors(Some(table.steps), |steps| Some(steps / 2))
                        .find(|&steps| steps <= SHEET_STEPS),
                    None => Some(Chain::steps_within(&scheduler, SHEET_STEPS)),
                };
                let chain = Chain::new(&scheduler, ChainOptions { steps, ..ChainOptions::default() })?;
                Some(Sampler::new(unet, trainer.ema(), chain, batch, size, StepNoise::Drawn)?)
            }
            Trained::Classifier(_) => None,
        };
        let order = Order::new(config.training.seed, dataset.len());
        let (folder, fingerprint) = (folder.to_path_buf(), dataset.fingerprint());
        Ok(Self {
            folder,
            config,
            dataset,
            fingerprint,
            trainer,
            sampler,
            order,
            step: 0,
            losses: Vec::new(),
            history: History::default(),
            noise_scale: NoiseScale::default(),
            loss_scale: Vec::new(),
            tuned: Tuned::default(),
            buffers: BTreeMap::new(),
            teacher: Vec::new(),
        })
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
        table.activations += self.sampler.as_ref().map_or(0, |sampler| sampler.memory().activations);
        table
    }

    fn plans(&self) -> Vec<&Plan> {
        self.trainer.plans().chain(self.sampler.iter().flat_map(Sampler::plans)).collect()
    }

    /// What the run was computed with before, if that was on this device.
    fn adopt_tuned(&self, device: &mut dyn Device) {
        if let Some(choices) = self.tuned.choices_on(device) {
            device.adopt(choices);
        }
    }

    /// Measures which variants of the run's kernels are fastest, unless the run was started with a choice; see
    /// [`Device::tune`].
    ///
    /// # Errors
    /// The device's.
    pub fn tune(&self, device: &mut dyn Device, watch: &mut dyn FnMut(usize, usize)) -> Result<Choices> {
        self.check_precision(device)?;
        self.adopt_tuned(device);
        device.tune(&self.plans(), watch)
    }

    /// Whether the device can hold activations as the run is to hold them.
    fn check_precision(&self, device: &dyn Device) -> Result<()> {
        if self.config.training.precision == Precision::F32 || device.has_half_precision() {
            return Ok(());
        }
        let device = device.description();
        Err(Error::input(format!(
            "precision is mixed, which takes a GPU with 16-bit floats in shaders; this is {device}"
        )))
    }

    /// Allocates everything that the run will need.
    ///
    /// # Errors
    /// [`OutOfMemory`](Error::OutOfMemory) saying which batch would fit; the device's.
    pub fn load(&mut self, device: &mut dyn Device) -> Result<()> {
        self.load_parts(device, true)
    }

    /// Allocates what measuring steps takes; where `hold` says so, they will not change the weights.
    pub(super) fn load_to_measure(&mut self, device: &mut dyn Device, hold: bool) -> Result<()> {
        if hold {
            self.trainer.hold_weights();
        }
        self.load_parts(device, false)
    }

    /// Frees what measuring has allocated.
    pub(super) fn unload(&mut self, device: &mut dyn Device) {
        self.trainer.unload(device);
    }

    fn load_parts(&mut self, device: &mut dyn Device, sheets: bool) -> Result<()> {
        self.check_precision(device)?;
        if self.trainer.teacher().is_some_and(|storage| storage.len() != self.teacher.len()) {
            return Err(Error::input("the run has a teacher whose weights were not given"));
        }
        self.adopt_tuned(device);
        let loaded = self.trainer.load(device).and_then(|()| match &mut self.sampler {
            Some(sampler) if sheets => sampler.load(device),
            _ => Ok(()),
        });
        if let Err(Error::OutOfMemory(why)) = loaded {
            self.trainer.unload(device);
            let batch = self.config.training.train_batch_size;
            let mut advice = match self.batch_that_fits(device) {
                Some(fitting) => format!("a batch of {fitting} would fit"),
                None => "not even a batch of 1 would fit".into(),
            };
            if let Some((batch, times)) = self.accumulation_that_fits(device) {
                advice += &format!(", and --batch {batch} --accumulate {times} takes the same steps");
            }
            if self.would_fit(device, |training| training.recompute = Recompute::Block) {
                advice += ", and with --recompute block this one would";
            }
            return Err(Error::OutOfMemory(format!("batch {batch}: {why}; {advice}")));
        }
        loaded?;
        let buffers = std::mem::take(&mut self.buffers);
        let initial = || self.trainer.parameters().initialize(self.config.training.seed);
        let parameters = buffers.get("parameters").cloned().unwrap_or_else(initial);
        if let (Some(scale), false) = (self.trainer.loss_scale(), self.loss_scale.is_empty()) {
            device.upload(scale, 0, &self.loss_scale)?;
        }
        if let Some(storage) = self.trainer.teacher() {
            device.upload(storage, 0, &self.teacher)?;
        }
        let moments = ["first_moments", "second_moments"];
        for (name, storage) in self.trainer.buffers().into_iter().chain(self.trainer.more_averages()) {
            match buffers.get(name) {
                Some(data) => device.upload(storage, 0, data)?,
                // The moments of a new run are zero, its averages begin with the weights.
                None if moments.contains(&name) => {}
                None => device.upload(storage, 0, &parameters)?,
            }
        }
        Ok(())
    }

    /// The largest half, quarter, ... of the batch that the device has room for.
    fn batch_that_fits(&self, device: &mut dyn Device) -> Option<usize> {
        let halves = std::iter::successors(Some(self.config.training.train_batch_size / 2), |batch| Some(batch / 2));
        halves
            .take_while(|&batch| batch > 0)
            .find(|&batch| self.would_fit(device, |training| training.train_batch_size = batch))
    }

    /// The largest micro-batches, and their number, that make the same steps and that the device has room for.
    fn accumulation_that_fits(&self, device: &mut dyn Device) -> Option<(usize, usize)> {
        let TrainingConfig { train_batch_size: batch, gradient_accumulation_steps: times, .. } = self.config.training;
        let cuts = std::iter::successors(Some(2), |cuts| Some(2 * cuts)).take_while(|cuts| batch.is_multiple_of(*cuts));
        cuts.map(|cuts| (batch / cuts, times * cuts)).find(|&(batch, times)| {
            self.would_fit(device, |training| {
                (training.train_batch_size, training.gradient_accumulation_steps) = (batch, times);
            })
        })
    }

    /// Whether the device has room for the run with another configuration.
    pub(super) fn would_fit(&self, device: &mut dyn Device, change: impl FnOnce(&mut TrainingConfig)) -> bool {
        let mut config = self.config.clone();
        change(&mut config.training);
        let other = Self::new(&self.folder, config, self.dataset.rows(|index| index == 0));
        other.is_ok_and(|other| {
            let plan = other.trainer.plan();
            device.has_room(plan, other.memory().total() - plan.memory().total())
        })
    }

    /// Takes the steps that are left, writing a checkpoint every `checkpointing_steps` and at the end.
    ///
    /// # Errors
    /// The device's; [`Io`](Error::Io); [`Input`](Error::Input) if the loss is not finite.
    pub fn train(&mut self, device: &mut dyn Device, mut tell: impl FnMut(Progress)) -> Result<()> {
        fs::create_dir_all(&self.folder).map_err(Error::io(&self.folder))?;
        let _lock = lock(&self.folder)?;
        let snapshots = (!self.config.training.ema_sigma_rel.is_empty()).then_some(snapshots::FOLDER);
        let parts: &[&str] = if self.sampler.is_some() { &["", "unet", "scheduler", "samples"] } else { &[""] };
        for part in parts.iter().copied().chain(snapshots) {
            let part = self.folder.join(part);
            fs::create_dir_all(&part).map_err(Error::io(&part))?;
            atomic_file::sweep(&part);
        }
        // From now on the folder is a run that --resume continues, whatever happens.
        let state = self.state(device)?;
        write_config(&self.folder, &state)?;
        state.write(&self.folder, self.trainer.parameters())?;
        let training = self.config.training.clone();
        let mut batch = self.next_batch();
        while self.step < training.max_train_steps {
            let StepRecord { loss, .. } = self.advance(device, &mut batch)?;
            let noise_scale = self.noise_scale.estimate().and_then(Estimate::noise_scale);
            tell(Progress::Step { done: self.step, loss, noise_scale });
            if training.ema_snapshot_every > 0 && self.step.is_multiple_of(training.ema_snapshot_every) {
                self.write_snapshot(device)?;
            }
            let due = training.checkpointing_steps > 0 && self.step.is_multiple_of(training.checkpointing_steps);
            if due || self.step == training.max_train_steps {
                if self.sampler.is_some() {
                    tell(Progress::Drawing);
                }
                self.checkpoint(device, &mut tell)?;
                tell(Progress::Checkpoint { done: self.step });
            }
        }
        Ok(())
    }

    /// Takes the next step on the first of its batches, which is replaced with the first of the step after.
    pub(super) fn advance(&mut self, device: &mut dyn Device, batch: &mut Batch) -> Result<StepRecord> {
        let micro_batches = self.config.training.gradient_accumulation_steps;
        for micro_batch in 0..micro_batches {
            self.trainer.begin(device, self.step, micro_batch, &batch.pictures, &batch.labels)?;
            // While a GPU is busy with this one.
            self.fill(self.step * micro_batches + micro_batch + 1, batch);
        }
        let record = self.trainer.finish(device, self.step)?;
        self.losses.push(record.loss);
        self.history.push(&record);
        let small = record.micro_batch_norm.unwrap_or(f32::NAN);
        if let Some(estimate) = step_estimate(&self.config.training, small, record.gradient_norm) {
            self.noise_scale.smooth(estimate);
        }
        self.step += 1;
        Ok(record)
    }

    /// The first batch of the next step.
    pub(super) fn next_batch(&mut self) -> Batch {
        let len = self.config.training.train_batch_size;
        let mut batch = Batch { pictures: vec![0.0; len * self.dataset.picture_len()], labels: vec![0; len] };
        self.fill(self.step * self.config.training.gradient_accumulation_steps, &mut batch);
        batch
    }

    /// The pictures and labels of a (micro-)batch, counted from the run's beginning.
    fn fill(&mut self, number: usize, batch: &mut Batch) {
        let flips = self.config.training.random_flip;
        let len = batch.labels.len();
        let rows = batch.pictures.chunks_exact_mut(self.dataset.picture_len());
        for (index, (row, label)) in rows.zip(&mut batch.labels).enumerate() {
            let position = number * len + index;
            let picture = self.order.picture(position);
            self.dataset.picture(picture, flips && self.order.is_flipped(position), row);
            *label = self.dataset.labels.as_ref().map_or(0, |labels| labels[picture]);
        }
    }

    /// Writes the folder: pictures, model, and last, which is the commit, the state.
    fn checkpoint(&mut self, device: &mut dyn Device, mut tell: impl FnMut(Progress)) -> Result<()> {
        loss_curve(&self.folder.join("loss.png"), &self.losses, &format!("loss, {}", self.dataset.name))?;
        match self.draw_sheet(device) {
            // A model that cannot draw yet is still worth keeping.
            Err(Error::Input(why)) => tell(Progress::Warning(why)),
            other => other?,
        }
        let state = self.state(device)?;
        if self.config.training.ema_snapshot_every == 0 {
            self.write_snapshot(device)?;
        }
        write_model(&self.folder, &state)?;
        state.write(&self.folder, self.trainer.parameters())
    }

    /// Stores the power-function averages, if there are any. A checkpoint that follows is later than its snapshot, so that a
    /// run which is killed writes it once more, to the same bits.
    fn write_snapshot(&self, device: &mut dyn Device) -> Result<()> {
        let sigmas = &self.config.training.ema_sigma_rel;
        if sigmas.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = sigmas.iter().map(|&sigma| AverageKind::SigmaRel(sigma).name()).collect();
        let mut averages = Vec::new();
        for (name, storage) in self.trainer.more_averages().filter(|(name, _)| names.iter().any(|other| other == name))
        {
            averages.push((name.to_string(), device.download(storage)?));
        }
        let skipped =
            self.trainer.loss_scale().map_or(Ok(0), |scale| Ok::<_, Error>(device.download(scale)?[2] as usize))?;
        let parameters = self.trainer.parameters();
        let of = self.config.training.ema_snapshot_dtype;
        snapshots::write(&self.folder, [self.step, self.step - skipped.min(self.step)], &averages, parameters, of)
    }

    fn draw_sheet(&mut self, device: &mut dyn Device) -> Result<()> {
        let request = Request { count: SHEET, seed: self.config.training.seed, ..Request::default() };
        let Some(sampler) = &mut self.sampler else { return Ok(()) };
        let drawn = sampler.sample(device, &request, |_, _, _| Ok(()))?;
        let sheet = Pictures::new(&drawn, SHEET, self.dataset.shape())?.contact_sheet(0, None)?;
        let path = self.folder.join("samples").join(format!("step-{:07}.png", self.step));
        crate::pictures::save_png(&path, &sheet.into())
    }

    /// What the run can be continued from.
    fn state(&self, device: &mut dyn Device) -> Result<TrainingState> {
        let mut buffers = BTreeMap::new();
        for (name, storage) in self.trainer.buffers().into_iter().chain(self.trainer.more_averages()) {
            let data = device.download(storage)?;
            if let Some(bad) = data.iter().find(|value| !value.is_finite()) {
                let step = self.step;
                return Err(Error::input(format!(
                    "step {step}: the {name} hold {bad}; a smaller learning rate may help, the last checkpoint is whole"
                )));
            }
            buffers.insert(name.to_string(), data);
        }
        Ok(TrainingState {
            config: self.config.clone(),
            step: self.step,
            height_width: [self.dataset.height, self.dataset.width],
            fingerprint: self.fingerprint.clone(),
            tuned: Tuned::of_plans(device, &self.plans()),
            buffers,
            losses: self.losses.clone(),
            history: self.history.clone(),
            timestep_losses: self.trainer.timestep_losses().to_vec(),
            loss_scale: self.trainer.loss_scale().map_or(Ok(Vec::new()), |scale| device.download(scale))?,
        })
    }
}

/// Keeps a second training out of the folder until the file is closed; the system closes it for a killed program.
fn lock(folder: &Path) -> Result<fs::File> {
    let path = folder.join(".lock");
    let file = fs::File::create(&path).map_err(Error::io(&path))?;
    match file.try_lock() {
        Err(fs::TryLockError::WouldBlock) => {
            Err(Error::input(format!("{}: another training is writing to this folder", folder.display())))
        }
        // Some file systems have no locks: then there is none.
        _ => Ok(file),
    }
}

fn write_config(folder: &Path, state: &TrainingState) -> Result<()> {
    atomic_file::write(&folder.join("config.toml"), state.config.to_toml()?.as_bytes())
}

/// Writes the parts of a run's folder that follow from its state: the configuration, the log and the model.
///
/// # Errors
/// [`Io`](Error::Io).
pub fn write_model(folder: &Path, state: &TrainingState) -> Result<()> {
    write_config(folder, state)?;
    atomic_file::write(&folder.join("log.csv"), log_csv(state).as_bytes())?;
    let missing = || Error::Device("the state has no moving average".into());
    let weights = state.buffers.get("ema").cloned().ok_or_else(missing)?;
    let scheduler = state.config.drawing_scheduler()?;
    match state.config.network()? {
        Trained::UNet(unet) => ModelFolder { unet: *unet, scheduler, weights }.write(folder),
        Trained::Classifier(classifier) => {
            let table = state.config.training.classifier.clone();
            let (class_names, noiseless) =
                table.map_or((Vec::new(), false), |table| (table.class_names, table.noiseless));
            let scheduler = (!noiseless).then_some(scheduler);
            ClassifierFolder { classifier: *classifier, class_names, scheduler, weights }.write(folder)
        }
    }
}
