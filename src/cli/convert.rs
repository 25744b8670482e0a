//! `aquatint convert`

use super::model::{note_default_scheduler, note_for_diffusers, refuse_model};
use super::output::{note, say};
use crate::checkpoint::openai::Unstated;
use crate::checkpoint::{Family, WeightType, read_any};
use crate::diffusion::{SamplerName, SchedulerClass};
use crate::error::Result;
use std::path::PathBuf;
use std::process::ExitCode;

/// Writes a model as a diffusers pipeline folder
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  aquatint convert old/diffusion_pytorch_model.bin --out new --dtype f16\n  \
    aquatint convert 256x256_diffusion_uncond.pt --out new --image-size 256 --num-head-channels 64")]
pub(super) struct Convert {
    /// A model folder in any of diffusers' layouts, a file of weights beside its config.json, or a
    /// checkpoint of OpenAI's improved-diffusion or guided-diffusion
    model: PathBuf,
    /// The folder to write, which holds no model yet
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What the weights are written as
    #[arg(long, value_enum, default_value_t = WeightType::F32, value_name = "TYPE")]
    dtype: WeightType,
    #[command(flatten)]
    unstated: Unstated,
}

impl Convert {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let out = self.out.display();
        refuse_model(&self.out)?;
        let (mut model, family) = read_any(&self.model, &self.unstated)?;
        match family {
            Family::OpenAi => note!("{}: not said in the file and taken as: {}", self.model.display(), self.unstated),
            Family::Diffusers => note_default_scheduler(&self.model)?,
        }
        let source = self.model.display().to_string();
        if let Some(class) = model.make_for_pipelines(&source)? {
            let sampler = SamplerName::of(class).name();
            let [was, is] = [class, model.scheduler.class].map(SchedulerClass::name);
            note!(
                "note: DDPMPipeline cannot step {was}; wrote the {is} of the same schedule; `--sampler {sampler}` draws \
                 with {was}"
            );
        }
        model.write_as(&self.out, self.dtype)?;
        let opens = match model.scheduler.pipeline() {
            Some(_) => "diffusers and `aquatint sample",
            None => "`aquatint sample",
        };
        say!("{out}: a model of {} parameters for {opens} {out}`", model.unet.parameters().count());
        note_for_diffusers(&model.scheduler);
        Ok(ExitCode::SUCCESS)
    }
}
