//! Checkpoints of OpenAI's improved-diffusion and guided-diffusion as diffusers' `UNet2DModel`.
//!
//! Nichol and Dhariwal 2021, <https://arxiv.org/abs/2102.09672>; Dhariwal and Nichol 2021,
//! <https://arxiv.org/abs/2105.05233>. Such a file holds tensors and nothing else. The architecture is read off their
//! names and sizes, as far as these tell; [`Unstated`] is what they do not tell.

mod architecture;
mod blocks;

use super::ModelFolder;
use crate::diffusion::SchedulerConfig;
use crate::error::{Error, Result};
use crate::nn::{TensorSource, UNet, UNetConfig};
use architecture::{Head, Reader};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::{Display, Formatter};

/// How the noise of an OpenAI model grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum NoiseSchedule {
    /// Betas on a line, scaled to the number of steps.
    #[default]
    Linear,
    /// The squared cosine.
    Cosine,
}

/// What the tensors of an OpenAI checkpoint do not tell. The defaults are those of OpenAI's scripts.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "What an OpenAI checkpoint does not say")]
pub struct Unstated {
    /// Heads of every attention
    #[arg(long, default_value_t = 4, value_name = "HEADS", conflicts_with = "num_head_channels")]
    pub num_heads: usize,
    /// Channels of an attention head, instead of --num-heads
    #[arg(long, value_name = "CHANNELS")]
    pub num_head_channels: Option<usize>,
    /// Attention was split into queries, keys and values before its heads
    #[arg(long)]
    pub new_attention_order: bool,
    /// Height and width of the pictures
    #[arg(long, default_value_t = 64, value_name = "PIXELS")]
    pub image_size: usize,
    /// Timesteps
    #[arg(long, default_value_t = 1000, value_name = "T")]
    pub diffusion_steps: usize,
    /// How the noise grows
    #[arg(long, value_enum, default_value_t)]
    pub noise_schedule: NoiseSchedule,
    /// The network predicts the picture instead of the noise
    #[arg(long)]
    pub predict_xstart: bool,
    /// The network was told timesteps as they are, not rescaled to 1000; matters where there are not 1000
    #[arg(long)]
    pub no_rescale_timesteps: bool,
}

impl Default for Unstated {
    fn default() -> Self {
        Self {
            num_heads: 4,
            num_head_channels: None,
            new_attention_order: false,
            image_size: 64,
            diffusion_steps: 1000,
            noise_schedule: NoiseSchedule::Linear,
            predict_xstart: false,
            no_rescale_timesteps: false,
        }
    }
}

/// As flags.
impl Display for Unstated {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self.num_head_channels {
            Some(channels) => write!(f, "--num-head-channels {channels}")?,
            None => write!(f, "--num-heads {}", self.num_heads)?,
        }
        let schedule = match self.noise_schedule {
            NoiseSchedule::Linear => "linear",
            NoiseSchedule::Cosine => "cosine",
        };
        let (size, steps) = (self.image_size, self.diffusion_steps);
        write!(f, " --image-size {size} --diffusion-steps {steps} --noise-schedule {schedule}")?;
        for (flag, given) in
            [("--new-attention-order", self.new_attention_order), ("--predict-xstart", self.predict_xstart)]
        {
            write!(f, ", {}{flag}", if given { "" } else { "no " })?;
        }
        Ok(())
    }
}

/// Where a tensor of the converted network comes from.
struct Piece {
    from: String,
    shape: Vec<usize>,
    /// For queries, keys and values, which lie in one tensor: which of the three, and in how many groups they alternate.
    third: Option<(usize, usize)>,
}

/// An OpenAI checkpoint under diffusers' names.
pub struct OpenAi<'a> {
    /// The network as diffusers' `config.json`.
    pub unet: Value,
    /// The diffusion as diffusers' `scheduler_config.json`.
    pub scheduler: Value,
    pieces: HashMap<String, Piece>,
    source: &'a dyn TensorSource,
}

/// Whether tensors have the names of OpenAI's networks.
pub fn is_openai(source: &dyn TensorSource) -> bool {
    source.shape("input_blocks.0.0.weight").is_some()
}

/// Reads a model from a checkpoint's tensors; `path` is named in errors.
///
/// # Errors
/// [`Input`](Error::Input) as [`OpenAi::new`].
pub fn read(source: &dyn TensorSource, path: &str, unstated: &Unstated) -> Result<ModelFolder> {
    let named = |error: Error| Error::input(format!("{path}: {error}"));
    let converted = OpenAi::new(source, unstated).map_err(named)?;
    let unet = UNet::new(&UNetConfig::from_json(&converted.unet, path)?)?;
    let scheduler = SchedulerConfig::from_json(&converted.scheduler, path)?;
    let weights = unet.parameters().flatten(&converted, path)?;
    Ok(ModelFolder { unet, scheduler, weights })
}

impl TensorSource for OpenAi<'_> {
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.pieces.keys().map(String::as_str))
    }

    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.pieces.get(name).map(|piece| &piece.shape[..])
    }

    fn read(&self, name: &str) -> Result<Cow<'_, [f32]>> {
        let piece = self.pieces.get(name).ok_or_else(|| Error::input(format!("tensor {name} is missing")))?;
        let data = self.source.read(&piece.from)?;
        let Some((third, groups)) = piece.third else { return Ok(data) };
        let run = data.len() / (3 * groups);
        Ok(Cow::Owned((0..groups).flat_map(|group| &data[(3 * group + third) * run..][..run]).copied().collect()))
    }
}

impl<'a> OpenAi<'a> {
    /// Reads the architecture off tensors' names and sizes.
    ///
    /// # Errors
    /// [`Input`](Error::Input), one line that names the tensor or the flag, if the tensors are not such a network's or
    /// `UNet2DModel` cannot be it. The line does not name the file.
    pub fn new(source: &'a dyn TensorSource, unstated: &Unstated) -> Result<Self> {
        let head = unstated.num_head_channels.map_or(Head::Number(unstated.num_heads), Head::Channels);
        let (Head::Channels(number) | Head::Number(number)) = head;
        if number == 0 {
            return Err(Error::input("attention has no heads, expected --num-heads of at least 1"));
        }
        let new_order = unstated.new_attention_order;
        let mut reader = Reader::new(source, head, new_order);
        let unet = reader.unet(unstated.image_size)?;
        let pieces = reader.finish()?;
        let learned = unet["out_channels"] != unet["in_channels"];
        let scheduler = scheduler(unstated, learned)?;
        Ok(Self { unet, scheduler, pieces, source })
    }
}

fn scheduler(unstated: &Unstated, learned_variance: bool) -> Result<Value> {
    let steps = unstated.diffusion_steps;
    if steps == 0 {
        return Err(Error::input("--diffusion-steps is 0, expected at least 1"));
    }
    if steps != 1000 && !unstated.no_rescale_timesteps {
        return Err(Error::input(format!(
            "--diffusion-steps {steps}: timesteps rescaled to 1000 are what UNet2DModel does not have; if this network \
             was trained with rescale_timesteps=False, say --no-rescale-timesteps"
        )));
    }
    let scale = 1000.0 / steps as f64;
    Ok(json!({
        "_class_name": "DDPMScheduler",
        "num_train_timesteps": steps,
        "beta_start": 1e-4 * scale,
        "beta_end": 0.02 * scale,
        "beta_schedule": match unstated.noise_schedule {
            NoiseSchedule::Linear => "linear",
            NoiseSchedule::Cosine => "squaredcos_cap_v2",
        },
        "variance_type": if learned_variance { "learned_range" } else { "fixed_large" },
        "prediction_type": if unstated.predict_xstart { "sample" } else { "epsilon" },
        "clip_sample": true,
        // OpenAI's fewer steps are spread over all timesteps, the first and the last among them.
        "timestep_spacing": "linspace",
    }))
}
