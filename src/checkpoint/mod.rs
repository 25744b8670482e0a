//! Model folders in Hugging Face diffusers' layout.

mod model_folder;
mod tensors;

pub use model_folder::ModelFolder;
pub use tensors::{TensorFile, read_tensors, write_tensors};
