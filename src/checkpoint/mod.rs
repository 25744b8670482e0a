//! Models and tensors on disk: Hugging Face diffusers' folders, safetensors, what `torch.save` writes.

mod attention_names;
mod element_type;
mod entry;
mod file_bytes;
mod layout;
mod model_folder;
mod pickle;
mod read_any;
mod safetensors_header;
mod shard_index;
mod state_dict;
mod strided;
mod tensors;
mod torch_file;
mod unique_map;
mod write_tensors;

pub use model_folder::ModelFolder;
pub use read_any::read_any;
pub use tensors::{TensorFile, Tensors, read_tensors};
pub use write_tensors::{Deferred, WeightType, deferred, write_deferred, write_tensors};
