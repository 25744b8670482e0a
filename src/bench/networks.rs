//! The three networks that speed is stated for.

use crate::nn::{BlockType, SampleSize, UNetConfig};

/// A network with the batches that it is measured at.
#[derive(Clone, Debug)]
pub struct Reference {
    /// Its name in rows.
    pub name: &'static str,
    /// The network.
    pub config: UNetConfig,
    /// Pictures in a training step.
    pub train_batch: usize,
    /// Pictures in a forward pass and in a sampling step.
    pub forward_batch: usize,
}

impl Reference {
    /// Height and width of its pictures.
    pub fn size(&self) -> [usize; 2] {
        self.config.sample_size.map_or([32, 32], SampleSize::height_width)
    }
}

/// TINY and MNIST, small networks for small pictures, and CIFAR, Ho et al.'s of 35.7 million parameters.
pub fn references() -> [Reference; 3] {
    use BlockType::{AttnDownBlock2D, AttnUpBlock2D, DownBlock2D, UpBlock2D};
    let small = UNetConfig {
        in_channels: 1,
        out_channels: 1,
        norm_num_groups: Some(8),
        attention_head_dim: None,
        ..UNetConfig::default()
    };
    let tiny = UNetConfig {
        sample_size: Some(SampleSize::Square(16)),
        block_out_channels: vec![32, 64],
        layers_per_block: 1,
        down_block_types: vec![DownBlock2D, AttnDownBlock2D],
        up_block_types: vec![AttnUpBlock2D, UpBlock2D],
        ..small.clone()
    };
    let mnist = UNetConfig {
        sample_size: Some(SampleSize::Square(32)),
        block_out_channels: vec![32, 64, 128],
        down_block_types: vec![DownBlock2D, DownBlock2D, AttnDownBlock2D],
        up_block_types: vec![AttnUpBlock2D, UpBlock2D, UpBlock2D],
        ..small
    };
    let cifar = UNetConfig {
        sample_size: Some(SampleSize::Square(32)),
        block_out_channels: vec![128, 256, 256, 256],
        norm_eps: 1e-6,
        attention_head_dim: None,
        downsample_padding: 0,
        flip_sin_to_cos: false,
        freq_shift: 1.0,
        down_block_types: vec![DownBlock2D, AttnDownBlock2D, DownBlock2D, DownBlock2D],
        up_block_types: vec![UpBlock2D, UpBlock2D, AttnUpBlock2D, UpBlock2D],
        ..UNetConfig::default()
    };
    [
        Reference { name: "TINY", config: tiny, train_batch: 32, forward_batch: 32 },
        Reference { name: "MNIST", config: mnist, train_batch: 16, forward_batch: 16 },
        Reference { name: "CIFAR", config: cifar, train_batch: 2, forward_batch: 4 },
    ]
}
