//! Networks: their parameters, layers, and the U-Net that a diffusers configuration describes.

mod attention_block;
mod config;
mod diffusers_class;
mod layers;
mod parameters;
mod resnet_block;
mod unet;

pub use config::{BlockType, SampleSize, UNetConfig};
pub use layers::{Network, Recompute};
pub use parameters::{Initial, Layout, NamedTensor, Parameter, ParameterId, Parameters};
pub use unet::UNet;
