//! diffusers' `UNet2DModel` configuration, as in `config.json`.

use super::config_values::{
    BlockType, ClassEmbedType, MidBlockType, ResampleType, SampleSize, TimeEmbeddingType, TimeScaleShift, act_fn,
    whole_where_it_is,
};
use crate::diffusers_config;
use crate::error::{Error, Result};
use crate::kernels::activation::Activation;
use crate::kernels::timestep_embedding::LARGEST_TIMESTEP;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What describes a U-Net; keys and defaults are those of diffusers' `UNet2DModel`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UNetConfig {
    /// Pixels.
    pub sample_size: Option<SampleSize>,
    /// Channels of the pictures.
    pub in_channels: usize,
    /// Channels of the prediction.
    pub out_channels: usize,
    /// Makes 2 x - 1 of the pictures first.
    pub center_input_sample: bool,
    /// What the time embedding is made of.
    pub time_embedding_type: TimeEmbeddingType,
    /// Channels of the time embedding; null is 4 x the first level's.
    pub time_embedding_dim: Option<usize>,
    /// Shift of the time embedding's frequencies.
    #[serde(serialize_with = "whole_where_it_is")]
    pub freq_shift: f32,
    /// Whether the time embedding begins with cosines.
    pub flip_sin_to_cos: bool,
    /// Blocks on the way down, the finest first.
    pub down_block_types: Vec<BlockType>,
    /// The middle; null is none.
    pub mid_block_type: Option<MidBlockType>,
    /// Blocks on the way up, the coarsest first.
    pub up_block_types: Vec<BlockType>,
    /// Channels at each level, the finest first.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks at each level on the way down; one more on the way up.
    pub layers_per_block: usize,
    /// What the outputs of the middle's blocks are divided by.
    #[serde(serialize_with = "whole_where_it_is")]
    pub mid_block_scale_factor: f32,
    /// Zeros around pictures that are halved: 1 on every side, or 0, which pads right and below.
    pub downsample_padding: usize,
    /// How blocks with attention halve pictures.
    pub downsample_type: ResampleType,
    /// How blocks with attention double pictures.
    pub upsample_type: ResampleType,
    /// Probability, in training, that an element before a residual block's second convolution is dropped.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub dropout: f32,
    /// The residual blocks' activation function.
    #[serde(with = "act_fn")]
    pub act_fn: Activation,
    /// Channels of an attention head; null is one head.
    pub attention_head_dim: Option<usize>,
    /// Groups of the normalisations; null, where there are only Skip blocks, is a quarter of the channels, at most 32.
    pub norm_num_groups: Option<usize>,
    /// Groups of the normalisation of the middle's attention; null is as many as elsewhere, and no normalisation where
    /// the time embedding scales and shifts.
    pub attn_norm_num_groups: Option<usize>,
    /// Added to the variance in normalisations.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub norm_eps: f32,
    /// What the time embedding does in residual blocks.
    pub resnet_time_scale_shift: TimeScaleShift,
    /// Whether the middle has attention.
    pub add_attention: bool,
    /// What is made of class labels; null is a table of embeddings if there are classes.
    pub class_embed_type: Option<ClassEmbedType>,
    /// Classes, where the network is conditional, with the one that stands for none.
    pub num_class_embeds: Option<usize>,
    /// The class that stands for none, where the network was trained to predict without one; no key of diffusers', which
    /// leaves it aside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unconditional_class: Option<usize>,
    /// Timesteps that a learnt time embedding has vectors for.
    pub num_train_timesteps: Option<usize>,
}

impl Default for UNetConfig {
    fn default() -> Self {
        use BlockType::{AttnDownBlock2D, AttnUpBlock2D, DownBlock2D, UpBlock2D};
        Self {
            sample_size: None,
            in_channels: 3,
            out_channels: 3,
            center_input_sample: false,
            time_embedding_type: TimeEmbeddingType::Positional,
            time_embedding_dim: None,
            freq_shift: 0.0,
            flip_sin_to_cos: true,
            down_block_types: vec![DownBlock2D, AttnDownBlock2D, AttnDownBlock2D, AttnDownBlock2D],
            mid_block_type: Some(MidBlockType::UNetMidBlock2D),
            up_block_types: vec![AttnUpBlock2D, AttnUpBlock2D, AttnUpBlock2D, UpBlock2D],
            block_out_channels: vec![224, 448, 672, 896],
            layers_per_block: 2,
            mid_block_scale_factor: 1.0,
            downsample_padding: 1,
            downsample_type: ResampleType::Conv,
            upsample_type: ResampleType::Conv,
            dropout: 0.0,
            act_fn: Activation::Silu,
            attention_head_dim: Some(8),
            norm_num_groups: Some(32),
            attn_norm_num_groups: None,
            norm_eps: 1e-5,
            resnet_time_scale_shift: TimeScaleShift::Default,
            add_attention: true,
            class_embed_type: None,
            num_class_embeds: None,
            unconditional_class: None,
            num_train_timesteps: None,
        }
    }
}

const CLASS: &str = "UNet2DModel";
/// What diffusers' `EMAModel` adds to the configuration of the weights that it averaged.
const OF_AVERAGES: [&str; 7] =
    ["decay", "inv_gamma", "min_decay", "optimization_step", "power", "update_after_step", "use_ema_warmup"];

/// The largest side of a picture: beyond it the size is a slip of the hand.
const LARGEST_SIDE: usize = 8192;

impl UNetConfig {
    /// Reads a `config.json` or a TOML table that was turned into JSON. `source` is named in errors.
    ///
    /// # Errors
    /// [`Input`](Error::Input) naming the key, what was found and what was expected.
    pub fn from_json(json: &Value, source: &str) -> Result<Self> {
        let keys = diffusers_config::keys_of(json, CLASS, source)?;
        if let Some(found) = keys.get("_class_name").filter(|&name| name != CLASS) {
            return Err(Error::input(format!("{source}: _class_name is {found}, this program has only \"{CLASS}\"")));
        }
        let own = keys.iter().filter(|(key, _)| !key.starts_with('_') && !OF_AVERAGES.contains(&key.as_str()));
        let own: Map<String, Value> = own.map(|(key, value)| (key.clone(), value.clone())).collect();
        let config: Self = diffusers_config::read_keys(&own, CLASS, source)?;
        config.validate(source)?;
        Ok(config)
    }

    /// As diffusers' `config.json`.
    pub fn to_json(&self) -> Value {
        let keys = serde_json::to_value(self).ok().and_then(|keys| keys.as_object().cloned());
        diffusers_config::configuration(CLASS, keys.unwrap_or_default())
    }

    /// Channels of the time embedding.
    pub fn embedding_channels(&self) -> usize {
        self.time_embedding_dim.unwrap_or(4 * self.block_out_channels[0])
    }

    /// What class labels are below, for a network that takes labels: its classes, or any whole number that a single
    /// holds.
    pub fn classes(&self) -> Option<usize> {
        match self.class_embed_type {
            None => self.num_class_embeds,
            Some(ClassEmbedType::Timestep) => Some(self.num_class_embeds.unwrap_or(self.timestep_bound())),
            Some(ClassEmbedType::Identity) => None,
        }
    }

    /// Classes that pictures can have: all but the one that stands for none.
    pub fn real_classes(&self) -> Option<usize> {
        self.classes().map(|classes| classes - usize::from(self.unconditional_class.is_some()))
    }

    /// The label of the n-th of these.
    pub fn real_class(&self, n: usize) -> usize {
        n + usize::from(self.unconditional_class.is_some_and(|unconditional| n >= unconditional))
    }

    /// The same network, with the name of the class that stands for none.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if it has no such class; `source` is named.
    pub fn with_unconditional_class(&self, class: usize, source: &str) -> Result<Self> {
        let config = Self { unconditional_class: Some(class), ..self.clone() };
        config.check_unconditional_class(source)?;
        Ok(config)
    }

    /// What timesteps are below.
    fn timestep_bound(&self) -> usize {
        match (self.time_embedding_type, self.num_train_timesteps) {
            (TimeEmbeddingType::Learned, Some(count)) => count,
            _ => LARGEST_TIMESTEP as usize,
        }
    }

    /// Whether the network can be told these timesteps.
    ///
    /// # Errors
    /// [`Input`](Error::Input) with the first that is out of range, or not whole where each has a vector of its own.
    pub fn check_timesteps(&self, timesteps: &[f32], source: &str) -> Result<()> {
        let bound = self.timestep_bound();
        let learned = self.time_embedding_type == TimeEmbeddingType::Learned;
        // Sines have values below 0 too, where EDM's networks are told logarithms.
        let least = match self.time_embedding_type {
            TimeEmbeddingType::Positional => 1.0 - bound as f32,
            TimeEmbeddingType::Fourier | TimeEmbeddingType::Learned => 0.0,
        };
        let range = least..bound as f32;
        let bad = |t: &&f32| !range.contains(t) || (learned && t.fract() != 0.0);
        match timesteps.iter().find(bad) {
            None => Ok(()),
            Some(bad) if learned => {
                let last = bound - 1;
                Err(Error::input(format!("{source}: timestep {bad}, expected whole numbers from 0 to {last}")))
            }
            Some(bad) => Err(Error::input(format!("{source}: timestep {bad}, expected {least} to below {bound}"))),
        }
    }

    /// Values of a picture of its `sample_size`; of one pixel without.
    pub fn values(&self) -> usize {
        self.sample_size.map_or(1, |size| size.height_width().iter().product::<usize>()) * self.in_channels
    }

    /// What sizes of pictures must be a multiple of.
    pub fn size_multiple(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }

    /// Whether pictures of this size can be halved as often as the network does.
    ///
    /// # Errors
    /// [`Input`](Error::Input) with the size that was expected.
    pub fn check_size(&self, height: usize, width: usize, source: &str) -> Result<()> {
        let multiple = self.size_multiple();
        if height.max(width) > LARGEST_SIDE {
            return Err(Error::input(format!(
                "{source}: pictures of {height}x{width}, expected at most {LARGEST_SIDE}"
            )));
        }
        if height == 0 || width == 0 || !height.is_multiple_of(multiple) || !width.is_multiple_of(multiple) {
            let levels = self.block_out_channels.len();
            return Err(Error::input(format!(
                "{source}: pictures of {height}x{width}, expected multiples of {multiple} for {levels} levels"
            )));
        }
        Ok(())
    }
}
