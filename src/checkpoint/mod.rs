//! Model folders in Hugging Face diffusers' layout.

mod model_folder;
mod tensors;

pub use model_folder::ModelFolder;
pub use tensors::{Deferred, TensorFile, deferred, read_tensors, write_deferred, write_tensors};
