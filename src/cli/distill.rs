//! `aquatint distill`

use super::device::DeviceFlag;
use super::model::{note_for_diffusers, read_model};
use super::output::{note, say};
use super::step_flags::StepFlags;
use super::train::{open_dataset, resume_run, train};
use crate::checkpoint::ModelFolder;
use crate::data::Dataset;
use crate::diffusion::PredictionType;
use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;
use crate::nn::SampleSize;
use crate::training::distillation::{distilled_scheduler, stages};
use crate::training::{
    DistillationMethod, DistillationTable, EmaWarmup, Run, RunConfig, STATE_FILE, TrainingConfig, TrainingState,
};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Teaches a model to draw in few steps, by another that takes many
#[derive(clap::Args)]
#[command(
    mut_arg("steps", |arg| arg.help("Optimiser steps of each stage, 1000 if not given")),
    mut_arg("checkpoint_every", |arg| arg.help("Steps between checkpoints; a quarter of a stage if not given, 100 to 1000")),
    after_help = "Examples:\n  aquatint distill runs/digits --to 4 --data digits --out runs/few\n  \
    aquatint sample runs/few/steps-4 --out drawn\n  \
    aquatint distill runs/photos --to 1 --from 256 --data photos/ --steps 20000 --lr 1e-4 --out runs/one\n  \
    aquatint distill runs/guided --guidance 3 --to 4 --data digits --out runs/few-guided\n  \
    aquatint distill runs/digits --method consistency --data digits --out runs/consistent\n\n\
    Progressive distillation (Salimans & Ho 2022): each stage begins with the weights of its teacher and learns to do in one \
    step of DDIM what that does in two, the first stage from the model itself. DIR/steps-N is the model folder of the stage \
    that draws in N steps. A model that does not predict v is taught to in a stage of its own, as DIR/steps-N-v.\n\
    Consistency distillation (Song et al. 2023; Luo et al. 2023): one stage, whose model says from every level of noise the \
    picture that the teacher's way ends at. DIR is its folder.\n\
    The same command again continues where it was stopped, to bitwise the same weights."
)]
pub(super) struct Distill {
    /// The model to learn from: a folder or a file that `sample` opens, trained on timesteps
    teacher: PathBuf,
    /// digits, digits:even, digits:odd, IDX files or a folder of pictures: what the teacher was trained on
    #[arg(long, value_name = "DATA")]
    data: String,
    /// The folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Sampling steps of the last stage; 4 if not given. With consistency those that `sample` takes if nothing is said, 2
    #[arg(long, value_name = "N")]
    to: Option<usize>,
    /// Steps that the teacher is taken to draw in, --to times a power of two; the most whose timesteps hold those of all stages if
    /// not given.
    /// With consistency any number, 20 if not given
    #[arg(long, value_name = "N")]
    from: Option<usize>,
    /// How it is taught
    #[arg(long, value_enum, default_value = "progressive", value_name = "METHOD")]
    method: DistillationMethod,
    /// Teaches the model with this guidance, s of `sample --guidance`, in every single run
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    guidance: Option<f32>,
    #[command(flatten)]
    step: StepFlags,
    #[command(flatten)]
    device: DeviceFlag,
}

/// Steps of the teacher that consistency distillation goes along: about the 18 of Song et al. 2023. Of 50 what is known at the
/// end takes longer to get to the beginning: students of the digits then drew nothing in one step after 600 of training.
const CONSISTENCY_LEVELS: usize = 20;
/// How probable it is that a picture loses its class, for teachers that know none.
const CLASS_DROPOUT: f32 = 0.1;

/// Optimiser steps of a stage if nothing is said.
const STAGE_STEPS: usize = 1000;

/// What a stage of so many optimiser steps is trained with if nothing is said.
fn defaults(method: DistillationMethod, steps: usize) -> TrainingConfig {
    let unsaid = TrainingConfig::default();
    TrainingConfig {
        max_train_steps: steps,
        learning_rate: match method {
            DistillationMethod::Progressive => 2e-4,
            DistillationMethod::Consistency => 5e-4,
        },
        lr_warmup_steps: 0,
        ema_max_decay: match method {
            // The learning rate falls to 0, which averages.
            DistillationMethod::Progressive => 0.0,
            DistillationMethod::Consistency => 0.95,
        },
        ema_warmup: EmaWarmup::None,
        // Four to a stage, so that one that is stopped does not begin again; no more often than it is worth drawing a sheet.
        checkpointing_steps: (steps / 4).clamp(100, unsaid.checkpointing_steps),
        ..unsaid
    }
}

/// A stage: where it is written, and by whom it is taught.
struct Stage {
    folder: PathBuf,
    teacher_steps: usize,
    steps: usize,
}

impl Distill {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let mut device = self.device.open()?;
        let (mut teacher, mut source) = (read_model(&self.teacher)?, self.teacher.clone());
        teacher.drop_variances()?;
        let stages = self.stages(&teacher)?;
        let mut dataset: Option<Dataset> = None;
        for (number, stage) in stages.iter().enumerate() {
            note!(
                "stage {} of {}  {} steps of {} become {}",
                number + 1,
                stages.len(),
                stage.teacher_steps,
                source.display(),
                stage.steps
            );
            let config = self.config(&teacher, &source, stage, number == 0)?;
            let made = self.taught(&stage.folder, config, teacher, &mut dataset, &mut *device)?;
            (teacher, source) = (made, stage.folder.clone());
        }
        note_for_diffusers(&teacher.scheduler);
        let steps = stages.last().map_or(0, |stage| stage.steps);
        say!("{}: a model that `aquatint sample {0}` draws with in {steps} steps", source.display());
        Ok(ExitCode::SUCCESS)
    }

    /// The stages to go through.
    fn stages(&self, teacher: &ModelFolder) -> Result<Vec<Stage>> {
        let timesteps = teacher.scheduler.num_train_timesteps;
        if self.method == DistillationMethod::Consistency {
            let levels = self.from.unwrap_or(CONSISTENCY_LEVELS.min(timesteps));
            let steps = self.to.unwrap_or(2.min(levels));
            if !(1..=timesteps).contains(&levels) {
                return Err(Error::input(format!("--from is {levels}, expected 1 to {timesteps}, the timesteps")));
            }
            if !(1..=levels).contains(&steps) {
                return Err(Error::input(format!("--to is {steps}, expected 1 to {levels}, the teacher's steps")));
            }
            return Ok(vec![Stage { folder: self.out.clone(), teacher_steps: levels, steps }]);
        }
        let noise = distilled_scheduler(&teacher.scheduler, &self.teacher.display().to_string())?;
        let all = stages(&noise, self.from, self.to.unwrap_or(4))?;
        let mut stages = Vec::new();
        if teacher.scheduler.prediction_type != PredictionType::VPrediction {
            let folder = self.out.join(format!("steps-{}-v", all[0]));
            stages.push(Stage { folder, teacher_steps: all[0], steps: all[0] });
        }
        stages.extend(all.windows(2).map(|two| Stage {
            folder: self.out.join(format!("steps-{}", two[1])),
            teacher_steps: two[0],
            steps: two[1],
        }));
        Ok(stages)
    }

    /// What a stage is trained as.
    fn config(&self, teacher: &ModelFolder, source: &Path, stage: &Stage, is_first: bool) -> Result<RunConfig> {
        let unet = teacher.unet.config();
        let steps = self.step.steps.unwrap_or(STAGE_STEPS);
        let mut t = TrainingConfig { dataset: self.data.clone(), ..defaults(self.method, steps) };
        self.step.apply(&mut t);
        t.pad_to_multiple = Some(unet.size_multiple());
        if let (None, Some([height, width])) = (t.resolution, unet.sample_size.map(SampleSize::height_width))
            && height == width
        {
            t.resolution = Some(height);
        }
        t.class_conditional = unet.classes().is_some();
        if unet.unconditional_class.is_some() && self.guidance.is_none() {
            t.class_dropout = CLASS_DROPOUT;
        }
        t.distillation = Some(DistillationTable {
            method: self.method,
            teacher: source.display().to_string(),
            teacher_checksum: Fingerprint::default().floats(&teacher.weights).text(),
            teacher_prediction: teacher.scheduler.prediction_type,
            teacher_steps: stage.teacher_steps,
            steps: stage.steps,
            // The students after the first have it in them.
            guidance: self.guidance.filter(|_| is_first),
        });
        t.validate()?;
        let scheduler = distilled_scheduler(&teacher.scheduler, &source.display().to_string())?;
        Ok(RunConfig { unet: unet.clone(), scheduler, training: t })
    }

    /// The model of a stage, which may have been finished or begun before.
    fn taught(
        &self,
        folder: &Path,
        config: RunConfig,
        teacher: ModelFolder,
        opened: &mut Option<Dataset>,
        device: &mut dyn crate::device::Device,
    ) -> Result<ModelFolder> {
        let state = match folder.join(STATE_FILE).exists() {
            true => Some(TrainingState::read(folder)?),
            false => None,
        };
        if let Some(state) = &state {
            self.check_begun(folder, &config, state)?;
            if state.step == state.config.training.max_train_steps {
                note!("{}: finished before", folder.display());
                return ModelFolder::read(folder);
            }
        }
        let dataset = match opened {
            Some(dataset) => dataset.clone(),
            None => opened.insert(open_dataset(&config.training, &self.data, Some(&config.unet))?).clone(),
        };
        let mut run = match state {
            Some(state) => resume_run(folder, state, &self.step, |_| Ok(dataset))?,
            None => {
                let mut run = Run::start(folder, config, dataset)?;
                run.begin_with(teacher.weights.clone())?;
                run
            }
        };
        run.set_teacher(teacher.weights)?;
        train(&mut run, device, &self.device)?;
        drop(run);
        ModelFolder::read(folder)
    }

    /// Whether a folder's run is the one that the command describes.
    fn check_begun(&self, folder: &Path, config: &RunConfig, state: &TrainingState) -> Result<()> {
        let was = &state.config;
        let differs = |what: &str| {
            let folder = folder.display();
            Err(Error::input(format!("{folder}: was begun with another {what}; expected a new --out, or the same")))
        };
        let mut asked = config.clone().resolved();
        let (t, w) = (&mut asked.training, &was.training);
        // By its weights it is the same wherever it lies.
        if let (Some(t), Some(w)) = (&mut t.distillation, &w.distillation) {
            t.teacher.clone_from(&w.teacher);
        }
        if t.distillation != w.distillation {
            return match (&t.distillation, &w.distillation) {
                (Some(t), Some(w)) if t.method != w.method => differs("--method"),
                (Some(t), Some(w)) if t.guidance != w.guidance => differs("--guidance"),
                (Some(t), Some(w)) if t.steps != w.steps || t.teacher_steps != w.teacher_steps => {
                    differs("--from or --to")
                }
                _ => differs("teacher"),
            };
        }
        if t.dataset != w.dataset {
            return differs("--data");
        }
        // The learning rate goes by it.
        if t.max_train_steps != w.max_train_steps {
            return differs("--steps");
        }
        (t.checkpointing_steps, t.recompute) = (w.checkpointing_steps, w.recompute);
        asked.unet.sample_size = asked.unet.sample_size.or(was.unet.sample_size);
        if asked == *was {
            return Ok(());
        }
        self.step.check(w)?;
        differs("network, noise or flag")
    }
}
