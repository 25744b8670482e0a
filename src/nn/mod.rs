//! Networks: their parameters, layers, and the U-Net that a diffusers configuration describes.

mod attention_block;
mod config;
mod diffusers_class;
mod forward;
mod layers;
mod parameters;
mod resnet_block;
mod tensor_source;
mod transpose;
mod unet;

pub use config::{BlockType, SampleSize, UNetConfig};
pub(crate) use diffusers_class::DiffusersClass;
pub use forward::Forward;
pub use layers::{Network, Recompute};
pub use parameters::{Initial, Layout, NamedTensor, Parameter, ParameterId, Parameters};
pub use tensor_source::TensorSource;
pub use unet::UNet;
