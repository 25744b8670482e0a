//! Whether the numbers of a `UNet2DModel` configuration fit each other.

use super::config::UNetConfig;
use super::config_values::{BlockStyle, BlockType, ResampleType, SampleSize, TimeEmbeddingType};
use super::unet::UNet;
use crate::error::{Error, Result};

/// Levels: one more would halve the largest pictures to nothing.
const MOST_LEVELS: usize = 14;
/// Residual blocks of a level.
const MOST_LAYERS: usize = 256;
/// Channels, groups, classes.
const MOST: usize = 1 << 16;

impl UNetConfig {
    /// Whether the numbers fit each other. `source` is named in errors.
    ///
    /// # Errors
    /// [`Input`](Error::Input) naming the key.
    pub fn validate(&self, source: &str) -> Result<()> {
        self.check_levels(source)?;
        self.check_numbers(source)?;
        self.check_skips(source)?;
        UNet::build(self).map_err(|error| Error::input(format!("{source}: {error}")))?;
        match self.sample_size.map(SampleSize::height_width) {
            Some([height, width]) => self.check_size(height, width, source),
            None => Ok(()),
        }
    }

    fn check_levels(&self, source: &str) -> Result<()> {
        let wrong = |message: String| Err(Error::input(format!("{source}: {message}")));
        let levels = self.block_out_channels.len();
        if levels == 0 || self.down_block_types.len() != levels || self.up_block_types.len() != levels {
            let (down, up) = (self.down_block_types.len(), self.up_block_types.len());
            return wrong(format!(
                "down_block_types has {down} entries, up_block_types {up}, block_out_channels {levels}; \
                 expected as many of each, at least one"
            ));
        }
        if levels > MOST_LEVELS {
            return wrong(format!("block_out_channels has {levels} levels, expected at most {MOST_LEVELS}"));
        }
        let blocks =
            [(true, "down_block_types", &self.down_block_types), (false, "up_block_types", &self.up_block_types)];
        for (down, key, blocks) in blocks {
            if let Some(block) = blocks.iter().find(|block| block.is_down() != down) {
                return wrong(format!("{key} holds {block:?}, expected any of {}", BlockType::names(down)));
            }
        }
        let only_skips = self.blocks().all(|block| block.style() == BlockStyle::Skip);
        match self.norm_num_groups {
            None if !only_skips => {
                wrong("norm_num_groups is null, expected a number for blocks other than Skip".into())
            }
            _ => Ok(()),
        }
    }

    fn blocks(&self) -> impl Iterator<Item = BlockType> {
        self.down_block_types.iter().chain(&self.up_block_types).copied()
    }

    fn check_numbers(&self, source: &str) -> Result<()> {
        let wrong = |message: String| Err(Error::input(format!("{source}: {message}")));
        for (key, value, most) in [
            ("in_channels", Some(self.in_channels), MOST),
            ("out_channels", Some(self.out_channels), MOST),
            ("layers_per_block", Some(self.layers_per_block), MOST_LAYERS),
            ("norm_num_groups", self.norm_num_groups, MOST),
            ("attn_norm_num_groups", self.attn_norm_num_groups, MOST),
            ("attention_head_dim", self.attention_head_dim, MOST),
            ("time_embedding_dim", self.time_embedding_dim, MOST),
            ("num_class_embeds", self.num_class_embeds, MOST),
            ("num_train_timesteps", self.num_train_timesteps, 1 << 24),
        ] {
            if let Some(value) = value.filter(|&value| value == 0 || value > most) {
                return wrong(format!("{key} is {value}, expected 1 to {most}"));
            }
        }
        let only_skips = self.blocks().all(|block| block.style() == BlockStyle::Skip);
        let groups = self.norm_num_groups.filter(|_| !only_skips).unwrap_or(1);
        for &channels in &self.block_out_channels {
            if channels == 0 || channels > MOST || !channels.is_multiple_of(groups) {
                return wrong(format!(
                    "block_out_channels holds {channels}, expected a multiple of norm_num_groups, {groups}, up to {MOST}"
                ));
            }
        }
        let last = self.block_out_channels[self.block_out_channels.len() - 1];
        let groups = self.attn_norm_num_groups.filter(|groups| self.add_attention && !last.is_multiple_of(*groups));
        if let Some(groups) = groups {
            return wrong(format!(
                "attn_norm_num_groups is {groups}, expected a divisor of the middle's {last} channels"
            ));
        }
        self.check_time(source)?;
        self.check_unconditional_class(source)?;
        let by_convolution = |block: &BlockType| match self.downsample_type {
            ResampleType::Resnet if block.attends() => false,
            _ => block.style() == BlockStyle::Plain,
        };
        let halved = &self.down_block_types[..self.down_block_types.len() - 1];
        if self.downsample_padding > 1 && halved.iter().any(by_convolution) {
            return wrong(format!("downsample_padding is {}, expected 0 or 1", self.downsample_padding));
        }
        if !(self.norm_eps > 0.0 && self.norm_eps < 1.0) {
            return wrong(format!("norm_eps is {}, expected a number between 0 and 1", self.norm_eps));
        }
        if !(0.0..=1.0).contains(&self.dropout) {
            return wrong(format!("dropout is {}, expected a number from 0 to 1", self.dropout));
        }
        if !self.mid_block_scale_factor.is_normal() {
            let found = self.mid_block_scale_factor;
            return wrong(format!("mid_block_scale_factor is {found}, expected a number other than 0"));
        }
        Ok(())
    }

    pub(super) fn check_unconditional_class(&self, source: &str) -> Result<()> {
        let Some(class) = self.unconditional_class else { return Ok(()) };
        let expected = match self.classes() {
            None => "none, for the network has no classes".into(),
            Some(1) => "none, for it is the network's only class".into(),
            Some(classes) if class >= classes => format!("0 to {}", classes - 1),
            Some(_) => return Ok(()),
        };
        Err(Error::input(format!("{source}: unconditional_class is {class}, expected {expected}")))
    }

    fn check_time(&self, source: &str) -> Result<()> {
        let wrong = |message: String| Err(Error::input(format!("{source}: {message}")));
        let first = self.block_out_channels[0];
        match self.time_embedding_type {
            TimeEmbeddingType::Fourier => Ok(()),
            TimeEmbeddingType::Learned if self.num_train_timesteps.is_some() => Ok(()),
            TimeEmbeddingType::Learned => {
                wrong("num_train_timesteps is null, expected a number for time_embedding_type learned".into())
            }
            TimeEmbeddingType::Positional if first > 2048 => wrong(format!(
                "block_out_channels begins with {first}, expected at most 2048 for time_embedding_type positional"
            )),
            // Not if it is NaN, either.
            TimeEmbeddingType::Positional if self.freq_shift < (first / 2) as f32 && self.freq_shift.is_finite() => {
                Ok(())
            }
            TimeEmbeddingType::Positional => {
                let shift = self.freq_shift;
                wrong(format!("freq_shift is {shift}, expected less than half of the first level's {first} channels"))
            }
        }
    }

    /// Whether the pictures that Skip blocks hand on fit where they arrive: diffusers' have three channels, and are
    /// halved and doubled only there.
    fn check_skips(&self, source: &str) -> Result<()> {
        let wrong = |message: String| Err(Error::input(format!("{source}: {message}")));
        let skips =
            |blocks: &[BlockType]| -> Vec<bool> { blocks.iter().map(|b| b.style() == BlockStyle::Skip).collect() };
        let (down, up) = (skips(&self.down_block_types), skips(&self.up_block_types));
        let last = down.len() - 1;
        if down[..last].is_sorted_by_key(|&skip| !skip) {
            if down[..last].contains(&true) && self.in_channels != 3 {
                return wrong(format!("in_channels is {}, expected 3 with SkipDownBlock2D", self.in_channels));
            }
        } else {
            return wrong("down_block_types has a Skip block after another one, expected Skip blocks first".into());
        }
        if let Some(first) = up[..last].iter().position(|&skip| skip) {
            if up[first..].contains(&false) {
                return wrong("up_block_types has another block after a Skip one, expected Skip blocks last".into());
            }
            if self.out_channels != 3 {
                return wrong(format!("out_channels is {}, expected 3 with SkipUpBlock2D", self.out_channels));
            }
        }
        Ok(())
    }
}
