//! Networks: their parameters, layers, and the U-Net that a diffusers configuration describes.

mod attention_block;
mod classifier;
mod classifier_forward;
mod config;
mod config_values;
mod down;
mod embedding;
mod encoder;
mod forward;
mod grow;
mod layer;
mod layers;
mod parameters;
mod resnet_block;
mod tensor_source;
mod transpose;
mod unet;
mod up;
mod validation;

pub use classifier::{Classified, Classifier, Toward};
pub use classifier_forward::ClassifierForward;
pub use config::UNetConfig;
pub use config_values::{
    BlockType, ClassEmbedType, MidBlockType, ResampleType, SampleSize, TimeEmbeddingType, TimeScaleShift,
};
pub use forward::{Forward, PulledBack};
pub use layers::{Network, Recompute};
pub use parameters::{Initial, Layout, NamedTensor, Parameter, ParameterId, Parameters};
pub use tensor_source::TensorSource;
pub use unet::UNet;
