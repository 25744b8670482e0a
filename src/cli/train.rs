//! `aquatint train`

use super::device::DeviceFlag;
use super::model::{note_for_diffusers, read_model};
use super::noise::Noise;
use super::objective::{ObjectiveFlags, differs, set};
use super::output::{note, say};
use super::progress::{Progress, duration};
use super::step_flags::StepFlags;
use super::suggest_batch::suggest_batch;
use crate::data::{Dataset, Options};
use crate::device::Device;
use crate::diffusion::{PredictionType, Process, SchedulerConfig, VarianceType};
use crate::error::{Error, Result};
use crate::metrics::median;
use crate::nn::{SampleSize, TimeEmbeddingType, UNet, UNetConfig};
use crate::training::{
    self, EmaWarmup, Run, RunConfig, Tables, TrainingConfig, TrainingState, default_unet, write_model,
};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Trains a model on pictures; the run's folder is a diffusers model folder
#[derive(clap::Args)]
#[command(
    allow_negative_numbers = true,
    after_help = "Examples:\n  aquatint train --data digits --out runs/digits --steps 2000\n  \
    aquatint train --data photos/ --image-size 64 --flip --out runs/photos --device gpu\n  \
    aquatint train --out runs/photos --resume --steps 50000\n  \
    aquatint train --data photos/ --batch 16 --accumulate 8 --out runs/large-steps\n  \
    aquatint train --data photos/ --ema 0.9999,0.999 --ema-power 0.05,0.10 --out runs/averages\n  \
    aquatint train --data photos/ --batch 64 --suggest-batch\n  \
    aquatint train --from models/ddpm-cifar10-32 --data photos/ --out runs/tuned --lr 1e-5\n  \
    aquatint train --data digits --classes --class-dropout 0.1 --out runs/guided\n  \
    aquatint train --data photos/ --out runs/v --schedule cosine --prediction v --weighting min-snr\n  \
    aquatint train --data photos/ --out runs/hybrid --schedule cosine --objective hybrid --variance learned-range\n  \
    aquatint train --data photos/ --out runs/vlb --objective vlb --variance learned-range \\\n      \
    --timestep-sampler importance\n  \
    aquatint train --data photos/ --out runs/sliced --schedule ncsn --objective sliced"
)]
pub(super) struct Train {
    /// digits, digits:even, digits:odd, IDX files (MNIST and relatives) or a folder of PNG and JPEG pictures
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    /// The run's folder
    #[arg(long, value_name = "RUN", required_unless_present = "suggest_batch")]
    out: Option<PathBuf>,
    /// A TOML file with tables [unet], [scheduler] and [training] of diffusers' key names; flags go before it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Begins with a model's weights, its network and its scheduler: a folder or a file that `sample` opens
    #[arg(long, value_name = "MODEL", conflicts_with = "resume")]
    from: Option<PathBuf>,
    /// Decay of the moving average of the weights; of several, the first is the model's and `aquatint ema` writes the others
    #[arg(long, value_name = "DECAY,..", value_delimiter = ',')]
    ema: Option<Vec<f64>>,
    /// How the decay begins: with (1 + n) / (10 + n), or at once
    #[arg(long, value_enum)]
    ema_warmup: Option<EmaWarmup>,
    /// Relative widths of power-function averages to keep, as 0.05,0.10: `aquatint ema --sigma-rel` makes any other of their
    /// snapshots
    #[arg(long, value_name = "WIDTH,..", value_delimiter = ',', visible_alias = "ema-sigma-rel")]
    ema_power: Option<Vec<f64>>,
    /// Steps between snapshots of the power-function averages; 0, as without, takes one with every checkpoint
    #[arg(long, value_name = "N")]
    ema_snapshot_every: Option<usize>,
    /// How the noise grows: linear, scaled-linear (or quadratic, which is the same), cosine, sigmoid, laplace, exp, const,
    /// jsd, or file:BETAS, text with a number on each line or a JSON list; `aquatint schedule` shows them. In continuous
    /// time: vp, sub-vp, ve (a score is learned), ncsn (the same at 232 levels of noise) and edm
    #[arg(long, value_name = "SCHEDULE")]
    schedule: Option<Noise>,
    /// Moves and stretches the schedule so that the last timestep is pure noise (Lin et al. 2023)
    #[arg(long)]
    zero_snr: bool,
    /// Learns the pictures' labels with them
    #[arg(long)]
    classes: bool,
    /// How probable it is that a picture's label is dropped, as 0.1, so that the model also learns to draw without one: what
    /// `sample --guidance` takes. With --classes
    #[arg(long, value_name = "SHARE")]
    class_dropout: Option<f32>,
    /// Continues the run in the folder, to bitwise the same weights as if it had not been stopped
    #[arg(long)]
    resume: bool,
    /// Measures how many pictures a step can use, the gradient noise scale, and writes nothing: of a new run over --steps
    /// (100) steps, with --resume of the run's weights as they are
    #[arg(long)]
    suggest_batch: bool,
    #[command(flatten)]
    step: StepFlags,
    #[command(flatten)]
    device: DeviceFlag,
    #[command(flatten)]
    objective: ObjectiveFlags,
}

impl Train {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let mut device = self.device.open()?;
        let mut run = if self.resume { self.resume()? } else { self.start()? };
        if self.suggest_batch {
            let steps = self.step.steps.unwrap_or(100);
            suggest_batch(&mut run, &mut *device, &self.device, steps, self.resume)?;
        } else {
            train(&mut run, &mut *device, &self.device)?;
            say!("{}: a model that `aquatint sample {0}` draws with", self.folder()?.display());
            note_for_diffusers(&run.config().scheduler);
        }
        Ok(ExitCode::SUCCESS)
    }

    fn folder(&self) -> Result<&Path> {
        self.out.as_deref().ok_or_else(|| Error::input("--out is missing: the run's folder"))
    }

    /// A new run, or one that is only measured.
    fn begin(&self, mut config: RunConfig, dataset: Dataset) -> Result<Run> {
        if self.suggest_batch {
            config.training.cut_for_noise_scale()?;
            return Run::unwritten(config, dataset);
        }
        Run::start(self.folder()?, config, dataset)
    }

    /// The configuration that the file and the flags describe, the flags laid over the file.
    fn tables(&self) -> Result<Tables> {
        let mut tables = read_tables(self.config.as_deref(), &TrainingConfig::default())?;
        refuse_others(&tables.training)?;
        let t = &mut tables.training;
        if let Some(data) = &self.data {
            t.dataset.clone_from(data);
        }
        self.step.apply(t);
        if let Some([first, more @ ..]) = self.ema.as_deref() {
            (t.ema_max_decay, t.ema_more_decays) = (*first, more.to_vec());
        }
        set(&mut t.ema_warmup, self.ema_warmup);
        if let Some(sigmas) = &self.ema_power {
            t.ema_sigma_rel.clone_from(sigmas);
        }
        set(&mut t.ema_snapshot_every, self.ema_snapshot_every);
        set(&mut t.class_dropout, self.class_dropout);
        self.objective.apply(t);
        t.class_conditional |= self.classes;
        t.validate()?;
        Ok(tables)
    }

    fn start(&self) -> Result<Run> {
        if self.data.is_none() && self.config.is_none() {
            return Err(Error::input("--data is missing: digits, IDX files or a folder"));
        }
        let tables = self.tables()?;
        if let Some(from) = &self.from {
            return self.start_from(from, tables);
        }
        let mut tables = tables;
        // 28 becomes 32 without a network of its own, which the default network halves twice.
        let multiple = tables.unet.as_ref().map_or(8, UNetConfig::size_multiple);
        tables.training.pad_to_multiple.get_or_insert(multiple);
        let dataset = open_dataset(&tables.training, &tables.training.dataset, tables.unet.as_ref())?;
        let classes = learnt_classes(&tables.training, &dataset)?;
        let drops_labels = tables.training.class_dropout > 0.0;
        // One more stands for no class.
        let classes = classes.map(|classes| classes + usize::from(drops_labels));
        let chosen = tables.unet.is_none();
        let scheduler = self.scheduler(tables.scheduler.unwrap_or_default(), dataset.picture_len())?;
        let mut unet = match tables.unet {
            Some(unet) => unet,
            None => {
                let unet = default_unet(dataset.height, dataset.width, dataset.channels, classes);
                // Told sigma, which goes over decades: the network of Song et al. 2021 takes its logarithm, and divides its
                // output by it as is right for a score.
                let explodes = matches!(scheduler.process(), Some(Process::Ve { .. }));
                let time_embedding_type = match explodes && scheduler.prediction_type == PredictionType::Score {
                    true => TimeEmbeddingType::Fourier,
                    false => unet.time_embedding_type,
                };
                UNetConfig { time_embedding_type, ..unet }
            }
        };
        unet.num_class_embeds = unet.num_class_embeds.or(classes);
        if drops_labels && unet.num_class_embeds > Some(dataset.classes()) {
            unet.unconditional_class = unet.unconditional_class.or(unet.num_class_embeds.map(|classes| classes - 1));
        }
        if (chosen || self.objective.learns_variances()) && scheduler.learns_variances() {
            unet = with_variances(unet);
        }
        self.begin(RunConfig { unet, scheduler, training: tables.training }, dataset)
    }

    /// A new run that begins with a model's weights.
    fn start_from(&self, from: &Path, mut tables: Tables) -> Result<Run> {
        let model = read_model(from)?;
        let unet = model.unet.config();
        let conflict = |what: &str| {
            let from = from.display();
            Err(Error::input(format!("--from {from}: the network is the model's, {what}")))
        };
        if tables.unet.is_some() {
            return conflict("and the file of --config has a table [unet]; expected none");
        }
        if tables.training.class_conditional && unet.num_class_embeds.is_none() {
            return conflict("which knows no classes; --classes (class_conditional) cannot add them");
        }
        let t = &mut tables.training;
        t.pad_to_multiple.get_or_insert(unet.size_multiple());
        let sides = unet.sample_size.map(SampleSize::height_width);
        match (t.resolution, sides) {
            (Some(size), Some(sides)) if sides != [size, size] => {
                let [height, width] = sides;
                return conflict(&format!("which is for pictures of {height}x{width}; --image-size is {size}"));
            }
            (None, Some([height, width])) if height == width => t.resolution = Some(height),
            _ => {}
        }
        let dataset = open_dataset(t, &t.dataset, Some(unet))?;
        let own = model.scheduler.with_class(model.scheduler.class, &from.display().to_string())?;
        let (was, scheduler) =
            (own.for_training("--from")?, self.scheduler(tables.scheduler.unwrap_or(own), dataset.picture_len())?);
        if was.class != scheduler.class {
            return Err(Error::input(format!(
                "--from {}: the network was trained with {} ({}), which tells it another thing than {} ({}); expected the \
                 same kind of noise",
                from.display(),
                Noise::of(&was),
                was.class.name(),
                Noise::of(&scheduler),
                scheduler.class.name()
            )));
        }
        let (mut unet, mut weights) = (unet.clone(), model.weights);
        let knows_none = unet.unconditional_class.is_some() || unet.classes().is_none();
        if tables.training.class_dropout > 0.0 && !knows_none {
            let naming = |error: Error| Error::input(format!("--from {}: --class-dropout: {error}", from.display()));
            let (grown, flat) = UNet::new(&unet)?.with_one_more_class(&weights).map_err(naming)?;
            (unet, weights) = (grown.config().clone(), flat);
        }
        // What says 0 is half way between the least and the largest variance.
        if scheduler.variance_type == Some(VarianceType::LearnedRange) && unet.out_channels == unet.in_channels {
            let naming = |error: Error| Error::input(format!("--from {}: {error}", from.display()));
            let (grown, flat) = UNet::new(&unet)?.with_twice_the_outputs(&weights).map_err(naming)?;
            (unet, weights) = (grown.config().clone(), flat);
        }
        let config = RunConfig { unet, scheduler, training: tables.training };
        let mut run = self.begin(config, dataset)?;
        run.begin_with(weights)?;
        Ok(run)
    }

    /// A scheduler with the noise, the prediction and the variances that the flags describe.
    fn scheduler(&self, scheduler: SchedulerConfig, values: usize) -> Result<SchedulerConfig> {
        let scheduler = match &self.schedule {
            Some(noise) => noise.apply(scheduler, values, "--schedule")?,
            None => scheduler,
        };
        let scheduler = self.objective.scheduler(scheduler.for_training("[scheduler]")?)?;
        if self.zero_snr { scheduler.with_zero_snr("--zero-snr") } else { Ok(scheduler) }
    }

    fn resume(&self) -> Result<Run> {
        let folder = self.folder()?;
        let mut state = TrainingState::read(folder)?;
        if state.config.training.classifier.is_some() {
            let folder = folder.display();
            return Err(Error::input(format!(
                "{folder}: the run trains a classifier; `aquatint train-classifier --resume` continues it"
            )));
        }
        if state.config.training.distillation.is_some() {
            let folder = folder.display();
            return Err(Error::input(format!(
                "{folder}: the run is a stage of distillation; the same `aquatint distill` again continues it"
            )));
        }
        self.check_flags(&state.config)?;
        if self.suggest_batch {
            state.config.training.cut_for_noise_scale()?;
            let t = &state.config.training;
            let dataset = open_dataset(t, &t.dataset, Some(&state.config.unet))?;
            return Run::resume(folder, state, dataset);
        }
        resume_run(folder, state, &self.step, |config| {
            open_dataset(&config.training, &config.training.dataset, Some(&config.unet))
        })
    }

    /// Whether every flag that was given says what the run was started with. How long it goes on, how often it is
    /// saved, what is recomputed and on what device may change.
    fn check_flags(&self, config: &RunConfig) -> Result<()> {
        let (t, values) = (&config.training, config.unet.values());
        if let Some(path) = &self.config {
            let tables = self.tables()?;
            let same_rest = TrainingConfig {
                max_train_steps: t.max_train_steps,
                checkpointing_steps: t.checkpointing_steps,
                recompute: t.recompute,
                pad_to_multiple: t.pad_to_multiple,
                resolution: tables.training.resolution.or(t.resolution),
                weighting: tables.training.weighting.or(t.weighting),
                timestep_sampler: tables.training.timestep_sampler.or(t.timestep_sampler),
                ..tables.training
            } == *t;
            let same_unet = tables.unet.is_none_or(|unet| {
                let UNetConfig { sample_size, num_class_embeds, unconditional_class, .. } = config.unet;
                let filled = UNetConfig {
                    sample_size: unet.sample_size.or(sample_size),
                    num_class_embeds: unet.num_class_embeds.or(num_class_embeds),
                    unconditional_class: unet.unconditional_class.or(unconditional_class),
                    ..unet
                };
                let filled = if self.objective.learns_variances() { with_variances(filled) } else { filled };
                filled == config.unet
            });
            // What the file leaves out may have come from the model of --from.
            let same_scheduler = match tables.scheduler {
                Some(scheduler) => self.scheduler(scheduler, values)? == config.scheduler,
                None => true,
            };
            let tables = [(same_unet, "[unet]"), (same_scheduler, "[scheduler]"), (same_rest, "[training]")];
            if let Some((_, table)) = tables.into_iter().find(|(same, _)| !same) {
                let path = path.display();
                return Err(Error::input(format!(
                    "--resume: {table} of {path}, with the flags, differs from what the run was started with"
                )));
            }
        }
        differs("--data", self.data.as_ref(), &t.dataset)?;
        self.step.check(t)?;
        differs("--ema", self.ema.as_ref(), &t.ema_decays())?;
        differs("--ema-warmup", self.ema_warmup.as_ref(), &t.ema_warmup)?;
        differs("--ema-power", self.ema_power.as_ref(), &t.ema_sigma_rel)?;
        differs("--ema-snapshot-every", self.ema_snapshot_every.as_ref(), &t.ema_snapshot_every)?;
        if let Some(noise) = &self.schedule
            // What cannot be laid over the run's scheduler is another one, too.
            && noise.apply(config.scheduler.clone(), values, "--schedule").ok().as_ref() != Some(&config.scheduler)
        {
            let was = Noise::of(&config.scheduler);
            return Err(Error::input(format!("--resume: --schedule is {noise}, the run was started with {was}")));
        }
        differs("--zero-snr", self.zero_snr.then_some(&true), &config.scheduler.rescale_betas_zero_snr)?;
        self.objective.check(t, &config.scheduler)?;
        differs("--class-dropout", self.class_dropout.as_ref(), &t.class_dropout)?;
        differs("--classes", self.classes.then_some(&true), &t.class_conditional)
    }
}

/// A network with channels for the variances, where it has one a channel of the pictures.
fn with_variances(unet: UNetConfig) -> UNetConfig {
    let doubled = unet.out_channels == unet.in_channels;
    UNetConfig { out_channels: if doubled { 2 * unet.in_channels } else { unet.out_channels }, ..unet }
}

/// The tables of a configuration's file, or none, over these defaults.
pub(super) fn read_tables(path: Option<&Path>, defaults: &TrainingConfig) -> Result<Tables> {
    let Some(path) = path else {
        return Ok(Tables { training: defaults.clone(), ..Tables::default() });
    };
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    Tables::parse_over(&text, &path.display().to_string(), defaults)
}

fn refuse_others(t: &TrainingConfig) -> Result<()> {
    let others = [
        (t.classifier.is_some(), "classifier", "train-classifier"),
        (t.distillation.is_some(), "distillation", "distill"),
    ];
    match others.into_iter().find(|(given, ..)| *given) {
        Some((_, table, command)) => {
            Err(Error::input(format!("[training.{table}] is given, which is for `aquatint {command}`")))
        }
        None => Ok(()),
    }
}

/// Continues a folder's run, with what the flags say of how long it goes on and how often it is saved.
pub(super) fn resume_run(
    folder: &Path,
    mut state: TrainingState,
    flags: &StepFlags,
    open: impl FnOnce(&RunConfig) -> Result<Dataset>,
) -> Result<Run> {
    let steps = flags.steps.unwrap_or(state.config.training.max_train_steps);
    if steps < state.step {
        let done = state.step;
        return Err(Error::input(format!("--steps {steps}: the run has taken {done} steps already")));
    }
    check_saved_config(folder, &state.config)?;
    state.config.training.max_train_steps = steps;
    flags.apply_of_resume(&mut state.config.training);
    let dataset = open(&state.config)?;
    let run = Run::resume(folder, state.clone(), dataset)?;
    // The state is what counts; the rest of the folder follows from it.
    write_model(folder, &state)?;
    Ok(run)
}

/// Whether the folder's config.toml still says what the run was started with: editing it changes nothing, and that must
/// not go unnoticed.
fn check_saved_config(folder: &Path, config: &RunConfig) -> Result<()> {
    let path = folder.join("config.toml");
    let Ok(text) = std::fs::read_to_string(&path) else { return Ok(()) };
    let mut saved = RunConfig::from_toml(&text, &path.display().to_string())?;
    saved.training.max_train_steps = config.training.max_train_steps;
    saved.training.checkpointing_steps = config.training.checkpointing_steps;
    saved.training.recompute = config.training.recompute;
    if saved != *config {
        let path = path.display();
        return Err(Error::input(format!("{path}: was changed; --resume continues what the run was started with")));
    }
    Ok(())
}

/// A data set's pictures, brought to what the network takes.
pub(super) fn open_dataset(t: &TrainingConfig, spec: &str, unet: Option<&UNetConfig>) -> Result<Dataset> {
    let options = Options {
        image_size: t.resolution,
        fit: t.fit,
        grayscale: unet.and_then(|unet| match unet.in_channels {
            1 => Some(true),
            3 => Some(false),
            _ => None,
        }),
        multiple_of: match t.resolution {
            Some(_) => unet.map_or(1, UNetConfig::size_multiple),
            None => t.pad_to_multiple.unwrap_or(1),
        },
    };
    let mut progress: Option<Progress> = None;
    let dataset = Dataset::open_with(spec, &options, &mut |done, total| {
        progress.get_or_insert_with(|| Progress::new("reading", 0, total)).at(done, || "pictures".into());
    })?;
    if let Some(progress) = progress {
        progress.finish();
    }
    Ok(dataset)
}

/// Classes to learn, if any are asked for.
fn learnt_classes(t: &TrainingConfig, dataset: &Dataset) -> Result<Option<usize>> {
    match (t.class_conditional, &dataset.labels) {
        (false, _) => Ok(None),
        (true, Some(_)) => Ok(Some(dataset.classes())),
        (true, None) => Err(Error::input(format!("{}: no labels to learn classes from", dataset.name))),
    }
}

/// Loads a run and takes its steps, with everything that is told on the way.
pub(super) fn train(run: &mut Run, device: &mut dyn Device, flag: &DeviceFlag) -> Result<()> {
    let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    let (dataset, config) = (run.dataset(), run.config());
    let [height, width, channels] = dataset.shape();
    note!("pictures     {} of {height}x{width}x{channels}, {}", dataset.len(), dataset.name);
    note!("network      {} parameters", run.trainer().parameters().count());
    note!("device       {}", device.description());
    let memory = run.memory();
    note!(
        "memory       {} planned: parameters {}, optimiser {}, activations {}",
        megabytes(memory.total()),
        megabytes(memory.parameters),
        megabytes(memory.optimizer),
        megabytes(memory.activations)
    );
    if config.training.gradient_accumulation_steps > 1 && !config.training.draws_independently() {
        note!("noise scale  none: with stratified timesteps micro-batches are not drawn independently");
    }
    let (steps, batch) = (config.training.max_train_steps, config.training.pictures_in_a_step());
    flag.tune(device, |device, watch| run.tune(device, watch))?;
    run.load(device)?;
    let first = run.step();
    if first == steps {
        note!("all {steps} steps were taken before");
    }
    let mut progress = Progress::new("training", first, steps);
    let mut smooth: Option<f32> = None;
    let mut last = Instant::now();
    let mut seconds = Vec::new();
    run.train(device, |event| match event {
        training::Progress::Step { done, loss, noise_scale } => {
            seconds.push(last.elapsed().as_secs_f64());
            last = Instant::now();
            let average = smooth.map_or(loss, |smooth| smooth + 0.02 * (loss - smooth));
            smooth = Some(average);
            let rate = ((done - first) * batch) as f64 / progress.seconds();
            let scale = noise_scale.map_or(String::new(), |scale| format!("noise scale {scale:.0}, "));
            progress.at(done, || format!("loss {average:.4}, {scale}{rate:.0} images/s,"));
        }
        training::Progress::Drawing => progress.say("drawing a sheet of samples"),
        training::Progress::Warning(why) => progress.say(&format!("warning: no sheet: {why}")),
        training::Progress::Checkpoint { done } => {
            let time = duration(progress.seconds());
            progress.say(&format!("checkpoint at step {done} after {time}, loss {:.4}", smooth.unwrap_or(f32::NAN)));
            last = Instant::now();
        }
    })?;
    progress.finish();
    if let Some(median) = median(&seconds) {
        note!("a step took {:.1} ms in the median", 1e3 * median);
    }
    Ok(())
}
