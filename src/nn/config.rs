//! diffusers' `UNet2DModel` configuration, as in `config.json`.

use super::diffusers_class::DiffusersClass;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The picture size that a network was made for; any size that can be halved often enough works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SampleSize {
    /// Square.
    Square(usize),
    /// Height and width.
    Rectangle([usize; 2]),
}

impl SampleSize {
    /// From height and width.
    pub fn new([height, width]: [usize; 2]) -> Self {
        if height == width { Self::Square(height) } else { Self::Rectangle([height, width]) }
    }

    /// Height and width.
    pub fn height_width(self) -> [usize; 2] {
        match self {
            Self::Square(size) => [size, size],
            Self::Rectangle(sizes) => sizes,
        }
    }
}

/// A block of the U-Net.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlockType {
    /// Residual blocks, then a stride 2 convolution.
    DownBlock2D,
    /// The same with attention after each residual block.
    AttnDownBlock2D,
    /// Residual blocks on what comes from below and across, then nearest upsampling and a convolution.
    UpBlock2D,
    /// The same with attention after each residual block.
    AttnUpBlock2D,
}

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
    /// Blocks on the way down, the finest first.
    pub down_block_types: Vec<BlockType>,
    /// Blocks on the way up, the coarsest first.
    pub up_block_types: Vec<BlockType>,
    /// Channels at each level, the finest first.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks at each level on the way down; one more on the way up.
    pub layers_per_block: usize,
    /// Channels of an attention head; null is one head.
    pub attention_head_dim: Option<usize>,
    /// Whether the middle has attention.
    pub add_attention: bool,
    /// Groups of the normalisations.
    pub norm_num_groups: usize,
    /// Added to the variance in normalisations.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub norm_eps: f32,
    /// Zeros around pictures that are halved: 1 on every side, or 0, which pads right and below.
    pub downsample_padding: usize,
    /// Whether the time embedding begins with cosines.
    pub flip_sin_to_cos: bool,
    /// Shift of the time embedding's frequencies.
    pub freq_shift: usize,
    /// Channels of the time embedding; null is 4 x the first level's.
    pub time_embedding_dim: Option<usize>,
    /// Classes, where the network is conditional.
    pub num_class_embeds: Option<usize>,
}

impl Default for UNetConfig {
    fn default() -> Self {
        use BlockType::{AttnDownBlock2D, AttnUpBlock2D, DownBlock2D, UpBlock2D};
        Self {
            sample_size: None,
            in_channels: 3,
            out_channels: 3,
            down_block_types: vec![DownBlock2D, AttnDownBlock2D, AttnDownBlock2D, AttnDownBlock2D],
            up_block_types: vec![AttnUpBlock2D, AttnUpBlock2D, AttnUpBlock2D, UpBlock2D],
            block_out_channels: vec![224, 448, 672, 896],
            layers_per_block: 2,
            attention_head_dim: Some(8),
            add_attention: true,
            norm_num_groups: 32,
            norm_eps: 1e-5,
            downsample_padding: 1,
            flip_sin_to_cos: true,
            freq_shift: 0,
            time_embedding_dim: None,
            num_class_embeds: None,
        }
    }
}

const CLASS: DiffusersClass = DiffusersClass {
    name: "UNet2DModel",
    fixed: &[
        ("center_input_sample", &["false"]),
        ("time_embedding_type", &["\"positional\""]),
        ("mid_block_type", &["\"UNetMidBlock2D\""]),
        ("mid_block_scale_factor", &["1", "1.0"]),
        ("downsample_type", &["\"conv\""]),
        ("upsample_type", &["\"conv\""]),
        ("dropout", &["0", "0.0"]),
        ("act_fn", &["\"silu\"", "\"swish\""]),
        ("attn_norm_num_groups", &["null"]),
        ("resnet_time_scale_shift", &["\"default\""]),
        ("class_embed_type", &["null"]),
    ],
    // The number of timesteps is the schedule's.
    idle: &[("num_train_timesteps", "null")],
};

/// The largest side of a picture: beyond it the size is a slip of the hand.
const LARGEST_SIDE: usize = 8192;

impl UNetConfig {
    /// Reads a `config.json` or a TOML table that was turned into JSON. `source` is named in errors.
    ///
    /// # Errors
    /// [`Input`](Error::Input) naming the key, what was found and what was expected.
    pub fn from_json(json: &Value, source: &str) -> Result<Self> {
        let config: Self = CLASS.read(json, source)?;
        config.validate(source)?;
        Ok(config)
    }

    /// As diffusers' `config.json`.
    pub fn to_json(&self) -> Value {
        CLASS.write(self)
    }

    /// Whether the numbers fit each other.
    ///
    /// # Errors
    /// [`Input`](Error::Input) naming the key.
    pub fn validate(&self, source: &str) -> Result<()> {
        let wrong = |message: String| Err(Error::input(format!("{source}: {message}")));
        let levels = self.block_out_channels.len();
        if levels == 0 || self.down_block_types.len() != levels || self.up_block_types.len() != levels {
            let (down, up) = (self.down_block_types.len(), self.up_block_types.len());
            return wrong(format!(
                "down_block_types has {down} entries, up_block_types {up}, block_out_channels {levels}; \
                 expected as many of each, at least one"
            ));
        }
        let is_down = |block: &BlockType| matches!(block, BlockType::DownBlock2D | BlockType::AttnDownBlock2D);
        if let Some(block) = self.down_block_types.iter().find(|block| !is_down(block)) {
            return wrong(format!("down_block_types holds {block:?}, expected DownBlock2D or AttnDownBlock2D"));
        }
        if let Some(block) = self.up_block_types.iter().find(|block| is_down(block)) {
            return wrong(format!("up_block_types holds {block:?}, expected UpBlock2D or AttnUpBlock2D"));
        }
        let positive = [
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("layers_per_block", self.layers_per_block),
            ("norm_num_groups", self.norm_num_groups),
            ("attention_head_dim", self.attention_head_dim.unwrap_or(1)),
            ("time_embedding_dim", self.time_embedding_dim.unwrap_or(1)),
            ("num_class_embeds", self.num_class_embeds.unwrap_or(1)),
        ];
        for (key, value) in positive {
            if value == 0 || value > 1 << 16 {
                return wrong(format!("{key} is {value}, expected 1 to 65536"));
            }
        }
        for &channels in &self.block_out_channels {
            if channels == 0 || channels > 1 << 16 || !channels.is_multiple_of(self.norm_num_groups) {
                let groups = self.norm_num_groups;
                return wrong(format!(
                    "block_out_channels holds {channels}, expected a multiple of norm_num_groups, {groups}"
                ));
            }
        }
        let levels = self.block_out_channels.iter().enumerate();
        for (level, &channels) in levels {
            let attends = self.down_block_types[level] == BlockType::AttnDownBlock2D
                || self.up_block_types[self.up_block_types.len() - 1 - level] == BlockType::AttnUpBlock2D
                || (self.add_attention && level + 1 == self.block_out_channels.len());
            if let Some(head) = self.attention_head_dim.filter(|head| attends && channels % head != 0) {
                return wrong(format!(
                    "block_out_channels holds {channels} at a level with attention, expected a multiple of \
                     attention_head_dim, {head}"
                ));
            }
        }
        let half = self.block_out_channels[0] / 2;
        if self.block_out_channels[0] > 2048 {
            return wrong(format!(
                "block_out_channels begins with {}, expected at most 2048",
                self.block_out_channels[0]
            ));
        }
        if half <= self.freq_shift {
            let (shift, first) = (self.freq_shift, self.block_out_channels[0]);
            return wrong(format!(
                "freq_shift is {shift}, expected less than half of the first level's {first} channels"
            ));
        }
        if self.downsample_padding > 1 {
            return wrong(format!("downsample_padding is {}, expected 0 or 1", self.downsample_padding));
        }
        if !(self.norm_eps > 0.0 && self.norm_eps < 1.0) {
            return wrong(format!("norm_eps is {}, expected a number between 0 and 1", self.norm_eps));
        }
        if let Some([height, width]) = self.sample_size.map(SampleSize::height_width) {
            self.check_size(height, width, source)?;
        }
        Ok(())
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
