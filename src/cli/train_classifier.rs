//! `aquatint train-classifier`

use super::class_labels::labels_by_name;
use super::device::DeviceFlag;
use super::noise::Noise;
use super::objective::differs;
use super::output::{note, say};
use super::progress::Progress;
use super::step_flags::StepFlags;
use super::train::{open_dataset, read_tables, resume_run, train};
use crate::checkpoint::{ClassifierFolder, ModelFolder};
use crate::data::Dataset;
use crate::device::Device;
use crate::diffusion::{SchedulerConfig, VarianceType};
use crate::error::{Error, Result};
use crate::metrics::{Judge, PARTS};
use crate::nn::UNetConfig;
use crate::training::{ClassifierTable, Run, RunConfig, TrainingConfig, TrainingState, default_unet};
use std::path::PathBuf;
use std::process::ExitCode;

/// Trains a classifier of noisy pictures, which guides sampling and judges what was drawn
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  aquatint train-classifier --data digits:even --held-out digits:odd --steps 600 --out runs/judge --noiseless\n  \
    aquatint train-classifier --data photos/ --for runs/photos --image-size 64 --flip --out runs/guide\n  \
    aquatint train-classifier --out runs/guide --resume --steps 20000\n\n\
    The network is the way down of a U-Net with attention pooling (Dhariwal & Nichol 2021, section 4.3). It learns x_t of every \
    timestep, with the noise of --for or --schedule; a classifier that guides a model must know the model's noise. The \
    classes are the labels of IDX files or the subfolders of a folder."
)]
pub(super) struct TrainClassifier {
    /// digits, digits:even, digits:odd, IDX files (MNIST and relatives) or a folder whose subfolders are the classes
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    /// The run's folder, which is the classifier's
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
    /// The pictures that it is judged by in the end; if not given, every tenth of its own, which it does not learn then
    #[arg(long, value_name = "DATA")]
    held_out: Option<String>,
    /// Learns clean pictures alone: a judge, which cannot guide
    #[arg(long)]
    noiseless: bool,
    /// The model that it is to guide: takes its noise
    #[arg(long = "for", value_name = "MODEL", conflicts_with_all = ["schedule", "noiseless"])]
    guided: Option<PathBuf>,
    /// How the noise grows, as of `train`
    #[arg(long, value_name = "SCHEDULE", conflicts_with = "noiseless")]
    schedule: Option<Noise>,
    /// Decay of the weights (AdamW); 0.05 if not given
    #[arg(long, value_name = "DECAY")]
    weight_decay: Option<f32>,
    /// A TOML file with tables [unet] (of which it takes the way down), [scheduler] and [training]; flags go before it
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    config: Option<PathBuf>,
    /// Continues the run in the folder, to bitwise the same weights as if it had not been stopped
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    step: StepFlags,
    #[command(flatten)]
    device: DeviceFlag,
}

/// Every which picture is held out where no others are given.
const EVERY: usize = 10;

/// What a classifier is trained with if nothing is said: as Dhariwal & Nichol 2021, table 13, in fewer steps.
fn defaults() -> TrainingConfig {
    TrainingConfig {
        max_train_steps: 3000,
        learning_rate: 3e-4,
        lr_warmup_steps: 100,
        adam_weight_decay: 0.05,
        ..TrainingConfig::default()
    }
}

impl TrainClassifier {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let mut device = self.device.open()?;
        let (mut run, held_out) = if self.resume { self.resume()? } else { self.start()? };
        train(&mut run, &mut *device, &self.device)?;
        self.judge(&run, &held_out, &mut *device)?;
        let out = self.out.display();
        say!("{out}: a classifier that `aquatint judge {out}` judges with");
        Ok(ExitCode::SUCCESS)
    }

    fn start(&self) -> Result<(Run, Dataset)> {
        let mut tables = read_tables(self.config.as_deref(), &defaults())?;
        let t = &mut tables.training;
        self.step.apply(t);
        super::objective::set(&mut t.adam_weight_decay, self.weight_decay);
        if let Some(data) = &self.data {
            t.dataset.clone_from(data);
        } else if self.config.is_none() {
            return Err(Error::input("--data is missing: digits, IDX files or a folder of folders"));
        }
        t.validate()?;
        t.pad_to_multiple.get_or_insert(tables.unet.as_ref().map_or(8, UNetConfig::size_multiple));
        let whole = open_dataset(t, &t.dataset, tables.unet.as_ref())?;
        if whole.labels.is_none() {
            return Err(Error::input(format!(
                "{}: no labels to learn classes from; expected IDX files with labels, or a folder whose subfolders are the \
                 classes",
                whole.name
            )));
        }
        let given = t.classifier.take();
        if let Some(given) = given.as_ref().filter(|given| given.class_names != whole.class_names) {
            let (found, expected) = (whole.class_names.join(", "), given.class_names.join(", "));
            return Err(Error::input(format!("{}: classes {found}; class_names are {expected}", whole.name)));
        }
        let table = ClassifierTable {
            class_names: whole.class_names.clone(),
            noiseless: self.noiseless || given.as_ref().is_some_and(|given| given.noiseless),
            held_out: self.held_out.clone().or(given.and_then(|given| given.held_out)),
        };
        t.classifier = Some(table);
        let unet = match tables.unet {
            Some(unet) => unet,
            None => default_unet(whole.height, whole.width, whole.channels, None),
        };
        let scheduler = self.scheduler(tables.scheduler, whole.picture_len())?;
        let config = RunConfig { unet, scheduler, training: tables.training };
        let (dataset, held_out) = split(&config, whole)?;
        Ok((Run::start(&self.out, config, dataset)?, held_out))
    }

    /// The noise: that of the model to guide, or as the flags and the file say.
    fn scheduler(&self, of_file: Option<SchedulerConfig>, values: usize) -> Result<SchedulerConfig> {
        let scheduler = match &self.guided {
            Some(model) => {
                let source = model.display().to_string();
                let own = ModelFolder::read_scheduler(model)?;
                own.ok_or_else(|| {
                    Error::input(format!("--for {source}: no scheduler_config.json to take the noise of"))
                })?
            }
            None => of_file.unwrap_or_default(),
        };
        let scheduler = scheduler.for_training("[scheduler]")?;
        let scheduler = match &self.schedule {
            Some(noise) => noise.apply(scheduler, values, "--schedule")?,
            None => scheduler,
        };
        // A classifier predicts no variances.
        match scheduler.learns_variances() {
            true => scheduler.with_variance(VarianceType::FixedSmall, "[scheduler]"),
            false => Ok(scheduler),
        }
    }

    fn resume(&self) -> Result<(Run, Dataset)> {
        let state = TrainingState::read(&self.out)?;
        let Some(table) = &state.config.training.classifier else {
            let out = self.out.display();
            return Err(Error::input(format!(
                "{out}: the run trains no classifier; `aquatint train --resume` continues it"
            )));
        };
        let t = &state.config.training;
        self.step.check(t)?;
        differs("--data", self.data.as_ref(), &t.dataset)?;
        differs("--held-out", self.held_out.clone().map(Some).as_ref(), &table.held_out)?;
        differs("--noiseless", self.noiseless.then_some(&true), &table.noiseless)?;
        differs("--weight-decay", self.weight_decay.as_ref(), &t.adam_weight_decay)?;
        if self.schedule.is_some() || self.guided.is_some() {
            let scheduler = self.scheduler(Some(state.config.scheduler.clone()), state.config.unet.values())?;
            if scheduler != state.config.scheduler {
                let (found, was) = (Noise::of(&scheduler), Noise::of(&state.config.scheduler));
                return Err(Error::input(format!("--resume: the noise is {found}, the run was started with {was}")));
            }
        }
        let whole = open_dataset(t, &t.dataset, Some(&state.config.unet))?;
        let (dataset, held_out) = split(&state.config, whole)?;
        Ok((resume_run(&self.out, state, &self.step, |_| Ok(dataset))?, held_out))
    }

    /// Says how many of the pictures that were held out it knows, clean and by parts of the noise.
    fn judge(&self, run: &Run, held_out: &Dataset, device: &mut dyn Device) -> Result<()> {
        if held_out.is_empty() {
            note!("held out     no pictures: there are fewer than {EVERY}");
            return Ok(());
        }
        let folder = ClassifierFolder::read(&self.out)?;
        let labels = labels_by_name(held_out, &folder.class_names)?.unwrap_or_default();
        let t = &run.config().training;
        let mut judge = Judge::new(&folder, t.train_batch_size.min(held_out.len()))?;
        self.device.tune(device, |device, watch| judge.tune(device, watch))?;
        judge.load(device, &folder.weights)?;
        let parts = if judge.knows_noise() { PARTS } else { 0 };
        let all = (1 + parts) * held_out.len();
        let mut progress = Progress::new("judging", 0, all);
        let clean = judge.clean(device, held_out, |done| progress.at(done, || "pictures".into()))?;
        let share = |hits: usize| hits as f64 / labels.len() as f64;
        let mut noisy = Vec::new();
        for part in 0..parts {
            let before = (1 + part) * held_out.len();
            let judged = judge.noisy(device, held_out, part, t.seed, |done| {
                progress.at(before + done, || "pictures".into());
            })?;
            noisy.push(format!("{:.3}", share(judged.hits(&labels))));
        }
        progress.finish();
        say!("accuracy {:.4} of {} pictures of {}", share(clean.hits(&labels)), labels.len(), held_out.name);
        if !noisy.is_empty() {
            say!("accuracy {} of them with noise, by quarters from the least", noisy.join(", "));
        }
        Ok(())
    }
}

/// The pictures to learn and those that are held out.
fn split(config: &RunConfig, whole: Dataset) -> Result<(Dataset, Dataset)> {
    let t = &config.training;
    match t.classifier.as_ref().and_then(|table| table.held_out.as_ref()) {
        Some(spec) => Ok((whole, open_dataset(t, spec, Some(&config.unet))?)),
        None => {
            let mut held_out = whole.rows(|index| index % EVERY == EVERY - 1);
            held_out.name = format!("{}, every {EVERY}th", whole.name);
            Ok((whole.rows(|index| index % EVERY != EVERY - 1), held_out))
        }
    }
}
