//! The words that diffusers' `UNet2DModel` configuration has for blocks and choices.

use crate::kernels::activation::Activation;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The picture size that a network was made for; any size that can be halved often enough works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a whole number or [height, width]")]
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
#[serde(try_from = "String")]
pub enum BlockType {
    /// Residual blocks, then a stride 2 convolution.
    DownBlock2D,
    /// The same with attention after each residual block.
    AttnDownBlock2D,
    /// Residual blocks, then one that halves the size.
    ResnetDownsampleBlock2D,
    /// Residual blocks, then one that halves the size with a filter, and the picture itself, halved, added.
    SkipDownBlock2D,
    /// The same with attention after each residual block.
    AttnSkipDownBlock2D,
    /// Residual blocks on what comes from below and across, then nearest upsampling and a convolution.
    UpBlock2D,
    /// The same with attention after each residual block.
    AttnUpBlock2D,
    /// Residual blocks on what comes from below and across, then one that doubles the size.
    ResnetUpsampleBlock2D,
    /// Residual blocks on what comes from below and across, a picture made of them, then a residual block that doubles
    /// the size with a filter.
    SkipUpBlock2D,
    /// The same with attention after the last of the residual blocks.
    AttnSkipUpBlock2D,
}

/// How a block's layers are made and how it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockStyle {
    /// Ends with a convolution.
    Plain,
    /// Ends with a residual block.
    Resnet,
    /// Ends with a residual block beside a way for the picture itself.
    Skip,
}

impl BlockType {
    const ALL: [Self; 10] = [
        Self::DownBlock2D,
        Self::AttnDownBlock2D,
        Self::ResnetDownsampleBlock2D,
        Self::SkipDownBlock2D,
        Self::AttnSkipDownBlock2D,
        Self::UpBlock2D,
        Self::AttnUpBlock2D,
        Self::ResnetUpsampleBlock2D,
        Self::SkipUpBlock2D,
        Self::AttnSkipUpBlock2D,
    ];

    /// The names of the blocks on the way down or up.
    pub(super) fn names(down: bool) -> String {
        let names: Vec<_> =
            Self::ALL.iter().filter(|block| block.is_down() == down).map(|b| format!("{b:?}")).collect();
        names.join(", ")
    }

    /// Whether it belongs on the way down.
    pub fn is_down(self) -> bool {
        use BlockType::{AttnDownBlock2D, AttnSkipDownBlock2D, DownBlock2D, ResnetDownsampleBlock2D, SkipDownBlock2D};
        matches!(self, DownBlock2D | AttnDownBlock2D | ResnetDownsampleBlock2D | SkipDownBlock2D | AttnSkipDownBlock2D)
    }

    /// Whether it has attention.
    pub fn attends(self) -> bool {
        use BlockType::{AttnDownBlock2D, AttnSkipDownBlock2D, AttnSkipUpBlock2D, AttnUpBlock2D};
        matches!(self, AttnDownBlock2D | AttnUpBlock2D | AttnSkipDownBlock2D | AttnSkipUpBlock2D)
    }

    pub(super) fn style(self) -> BlockStyle {
        match self {
            Self::DownBlock2D | Self::AttnDownBlock2D | Self::UpBlock2D | Self::AttnUpBlock2D => BlockStyle::Plain,
            Self::ResnetDownsampleBlock2D | Self::ResnetUpsampleBlock2D => BlockStyle::Resnet,
            Self::SkipDownBlock2D | Self::AttnSkipDownBlock2D | Self::SkipUpBlock2D | Self::AttnSkipUpBlock2D => {
                BlockStyle::Skip
            }
        }
    }
}

impl TryFrom<String> for BlockType {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        // As old configurations call them.
        let short = name.strip_prefix("UNetRes").unwrap_or(&name);
        let found = Self::ALL.into_iter().find(|block| format!("{block:?}") == short);
        found.ok_or_else(|| format!("{name}, this program has {} and {}", Self::names(true), Self::names(false)))
    }
}

/// The middle of the U-Net.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MidBlockType {
    /// Two residual blocks and attention between them.
    UNetMidBlock2D,
}

/// What the time embedding is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeEmbeddingType {
    /// Sines and cosines of the timestep.
    Positional,
    /// Sines and cosines of the timestep's logarithm at random frequencies; the output is divided by the timestep.
    Fourier,
    /// A learnt vector for each timestep.
    Learned,
}

/// How blocks with attention change the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResampleType {
    /// With a convolution.
    Conv,
    /// With a residual block.
    Resnet,
}

/// What the time embedding does in a residual block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeScaleShift {
    /// It is added before the second norm.
    Default,
    /// It scales and shifts the second norm's output.
    ScaleShift,
}

/// What is made of class labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassEmbedType {
    /// The same as of timesteps, with layers of its own.
    Timestep,
    /// Nothing: they are embeddings.
    Identity,
}

/// The activation functions' names.
pub(super) mod act_fn {
    use super::{Activation, Deserialize, Deserializer, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(value: &Activation, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match value {
            Activation::Silu => "silu",
            Activation::Mish => "mish",
            Activation::Gelu => "gelu",
            Activation::Relu => "relu",
        })
    }

    pub(in super::super) fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<Activation, D::Error> {
        let name = String::deserialize(deserializer)?;
        match name.to_lowercase().as_str() {
            "silu" | "swish" => Ok(Activation::Silu),
            "mish" => Ok(Activation::Mish),
            "gelu" => Ok(Activation::Gelu),
            "relu" => Ok(Activation::Relu),
            _ => Err(serde::de::Error::custom(format!("{name}, expected silu, swish, mish, gelu or relu"))),
        }
    }
}

/// A number that Python's users write as an integer where it is one.
pub(super) fn whole_where_it_is<S: Serializer>(value: &f32, serializer: S) -> Result<S::Ok, S::Error> {
    if value.fract() == 0.0 && value.abs() < 1e9 {
        serializer.serialize_i64(*value as i64)
    } else {
        crate::decimal::shortest(value, serializer)
    }
}
