//! Models and tensors on disk: Hugging Face diffusers' folders, safetensors, what `torch.save` writes.

mod attention_names;
mod classifier_folder;
mod element_type;
mod entry;
mod file_bytes;
mod layout;
mod model_folder;
pub mod openai;
mod pickle;
mod read_any;
mod safetensors_header;
mod shard_index;
mod state_dict;
mod strided;
mod tensors;
mod torch_file;
mod unique_map;
mod weight_files;
mod write_tensors;

pub use classifier_folder::ClassifierFolder;
pub use model_folder::ModelFolder;
pub use read_any::{Family, read_any};
pub use shard_index::parse as parse_shard_index;
pub use tensors::Tensors;
pub use weight_files::WeightFiles;
pub use write_tensors::{Deferred, WeightType, deferred, write_deferred, write_in_parts, write_tensors};
