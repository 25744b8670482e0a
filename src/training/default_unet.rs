//! The network of runs that describe none.

use crate::nn::{BlockType, SampleSize, UNetConfig};

/// A network for pictures of this size, where none is described: levels down to 8 pixels or less with attention at the
/// last, as many channels as a day of training on one machine can fill.
pub fn default_unet(height: usize, width: usize, channels: usize, classes: Option<usize>) -> UNetConfig {
    let size = height.max(width);
    // The largest number of levels that leaves at least 4 pixels, down to 8 where the size allows it.
    let divides = |levels: usize| [height, width].iter().all(|size| size.is_multiple_of(1 << (levels - 1)));
    let wanted = (1..=6).find(|levels| size >> (levels - 1) <= 8).unwrap_or(6).max(2);
    let levels = (1..=wanted).rev().find(|&levels| divides(levels)).unwrap_or(1);
    let base = if channels == 1 || size <= 16 { 32 } else { 64 };
    let with_attention = |level: usize, attention: BlockType, plain: BlockType| {
        if level + 1 == levels { attention } else { plain }
    };
    UNetConfig {
        sample_size: Some(SampleSize::new([height, width])),
        in_channels: channels,
        out_channels: channels,
        block_out_channels: (0..levels).map(|level| (base << level).min(8 * base).min(512)).collect(),
        down_block_types: (0..levels)
            .map(|level| with_attention(level, BlockType::AttnDownBlock2D, BlockType::DownBlock2D))
            .collect(),
        up_block_types: (0..levels)
            .rev()
            .map(|level| with_attention(level, BlockType::AttnUpBlock2D, BlockType::UpBlock2D))
            .collect(),
        layers_per_block: if size <= 16 { 1 } else { 2 },
        attention_head_dim: None,
        norm_num_groups: Some(8),
        num_class_embeds: classes,
        ..UNetConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_networks_fit_their_pictures() {
        for (height, width) in [(8, 8), (16, 16), (28, 28), (32, 32), (24, 40), (64, 64), (7, 9), (256, 256), (1, 1)] {
            let unet = default_unet(height, width, 3, None);
            unet.validate("default").unwrap();
        }
        assert_eq!(default_unet(32, 32, 1, None).block_out_channels, [32, 64, 128]);
        assert_eq!(default_unet(8, 8, 1, None).block_out_channels, [32, 64]);
    }
}
