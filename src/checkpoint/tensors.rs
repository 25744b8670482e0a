//! The one reader of tensors: a table of where they lie in mapped files, whatever the files' format.

use super::attention_names;
use super::entry::Entry;
use super::file_bytes::FileBytes;
use super::{safetensors_header, shard_index, torch_file};
use crate::error::{Error, Result};
use crate::nn::TensorSource;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

/// Longer names are no tensor's.
const LONGEST_NAME: usize = 512;

/// The tensors of a checkpoint, in one file or several. Only the table is in memory: elements are read, converted to
/// single precision, when they are asked for.
pub struct Tensors {
    source: String,
    files: Vec<FileBytes>,
    entries: BTreeMap<String, Entry>,
    metadata: HashMap<String, String>,
}

impl Tensors {
    /// Opens a safetensors file, what `torch.save` wrote, or an `*.index.json` of such files.
    ///
    /// # Errors
    /// [`Io`](Error::Io); [`Input`](Error::Input) naming the file if it is cut off, corrupt, or holds what is no tensor.
    pub fn open(path: &Path) -> Result<Self> {
        let source = path.display().to_string();
        if !source.ends_with(".json") {
            return Self::parse(FileBytes::open(path)?, &source);
        }
        let index = shard_index::parse(&FileBytes::open(path)?, &source)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let names: BTreeSet<&str> = index.iter().map(|(_, file)| file.as_str()).collect();
        let mut all = Self { source, files: Vec::new(), entries: BTreeMap::new(), metadata: HashMap::new() };
        let mut indexed: HashMap<&str, &str> =
            index.iter().map(|(name, file)| (name.as_str(), file.as_str())).collect();
        for file in names {
            let path = folder.join(file);
            if !path.is_file() {
                return Err(Error::input(format!("{}: names {file}, which is not there", all.source)));
            }
            let shard = Self::open_one(&path)?;
            let number = all.files.len();
            all.files.extend(shard.files);
            for (name, entry) in shard.entries {
                if indexed.remove(name.as_str()) != Some(file) {
                    return Err(Error::input(format!("{}: does not say that {name} is in {file}", all.source)));
                }
                all.entries.insert(name, Entry { file: number, ..entry });
            }
        }
        match indexed.into_iter().min() {
            Some((name, file)) => Err(Error::input(format!("{}: {name} is not in {file}", all.source))),
            None => Ok(all),
        }
    }

    fn open_one(path: &Path) -> Result<Self> {
        Self::parse(FileBytes::open(path)?, &path.display().to_string())
    }

    /// Takes a file's contents, in any of the formats; `source` is named in errors.
    ///
    /// # Errors
    /// [`Input`](Error::Input) as [`open`](Self::open).
    pub fn from_bytes(bytes: Vec<u8>, source: &str) -> Result<Self> {
        Self::parse(FileBytes::Owned(bytes), source)
    }

    fn parse(file: FileBytes, source: &str) -> Result<Self> {
        let refuse = |why: &str| Err(Error::input(format!("{source}: {why}")));
        let (found, metadata) = if torch_file::is_zip(&file) {
            (torch_file::read(&file, source)?, HashMap::new())
        } else if torch_file::is_legacy(&file) {
            return refuse("PyTorch's format from before its version 1.6; load it there and save it again");
        } else if file.starts_with(b"version https://git-lfs") {
            return refuse("a pointer of Git LFS, not the file itself; git lfs pull brings that");
        } else if [".bin", ".pt", ".pth", ".ckpt"].iter().any(|end| source.ends_with(end)) {
            return refuse("not a zip archive as torch.save writes it");
        } else {
            let header = safetensors_header::read(&file, source)?;
            (header.entries, header.metadata)
        };
        let mut entries = BTreeMap::new();
        for (name, entry) in found {
            // Names stand in errors, which are one line.
            if name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
                let name: String = name.chars().take(100).collect();
                return Err(Error::input(format!(
                    "{source}: tensor {name:?}...: expected a name of at most {LONGEST_NAME} printable bytes"
                )));
            }
            entries.insert(name, entry);
        }
        Ok(Self { source: source.to_string(), files: vec![file], entries, metadata })
    }

    /// What errors call it: its path.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// A safetensors file's free text by name.
    pub fn metadata(&self) -> &HashMap<String, String> {
        &self.metadata
    }

    /// The types of the tensors' elements by their names in safetensors files, and how many files there are.
    pub(super) fn types_and_files(&self) -> (Vec<&'static str>, usize) {
        let types: BTreeSet<&str> = self.entries.values().map(|entry| entry.of.name()).collect();
        (types.into_iter().collect(), self.files.len())
    }

    /// Gives a tensor another name, for checkpoints of other programs; one that is there already is replaced.
    pub fn rename(&mut self, from: &str, to: &str) {
        if let Some(entry) = self.entries.remove(from) {
            self.entries.insert(to.to_string(), entry);
        }
    }

    /// Gives attention's old names the new ones, and the weights of its projections two axes, as diffusers does.
    pub(super) fn modernize_attention(&mut self) {
        let old: Vec<(String, String)> = (self.entries.keys())
            .filter_map(|name| Some((name.clone(), attention_names::renamed(name)?)))
            .filter(|(_, new)| !self.entries.contains_key(new))
            .collect();
        for (old, new) in old {
            self.rename(&old, &new);
        }
        for (name, entry) in &mut self.entries {
            if attention_names::is_projection(name) && matches!(entry.shape[..], [_, _, 1, 1] | [_, _, 1]) {
                entry.shape.truncate(2);
                entry.strides.as_mut().map(|strides| strides.truncate(2)).unwrap_or_default();
            }
        }
    }

    /// A tensor's sizes and elements; the error says what there is.
    ///
    /// # Errors
    /// [`Input`](Error::Input).
    pub fn get(&self, name: &str) -> Result<(&[usize], Cow<'_, [f32]>)> {
        let entry = self.entry(name)?;
        Ok((&entry.shape, self.read_entry(name, entry)?))
    }

    /// A tensor's sizes, without reading it; the error says what there is.
    ///
    /// # Errors
    /// [`Input`](Error::Input).
    pub fn sizes(&self, name: &str) -> Result<&[usize]> {
        Ok(&self.entry(name)?.shape)
    }

    /// The finite elements of a tensor that has these sizes; any other is refused before it is read.
    ///
    /// # Errors
    /// [`Input`](Error::Input).
    pub fn finite(&self, name: &str, expected: &[usize]) -> Result<Cow<'_, [f32]>> {
        let (source, found) = (&self.source, self.sizes(name)?);
        if found != expected {
            return Err(Error::input(format!("{source}: tensor {name} has shape {found:?}, expected {expected:?}")));
        }
        let data = self.read(name)?;
        match data.iter().find(|value| !value.is_finite()) {
            Some(bad) => Err(Error::input(format!("{source}: tensor {name} holds {bad}, expected finite numbers"))),
            None => Ok(data),
        }
    }

    fn entry(&self, name: &str) -> Result<&Entry> {
        self.entries.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.entries.keys().map(String::as_str).take(8).collect();
            Error::input(format!("{}: no tensor {name}; it holds {}", self.source, names.join(", ")))
        })
    }

    fn read_entry<'a>(&'a self, name: &str, entry: &'a Entry) -> Result<Cow<'a, [f32]>> {
        let named = |error| Error::input(format!("{}: tensor {name} {error}", self.source));
        entry.read(&self.files[entry.file]).map_err(named)
    }

    /// The tensors whose names begin with a prefix, by the rest of their names.
    pub fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl TensorSource + 'a {
        Prefixed { tensors: self, prefix }
    }
}

impl TensorSource for Tensors {
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.entries.keys().map(String::as_str))
    }

    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entries.get(name).map(|entry| &entry.shape[..])
    }

    fn read(&self, name: &str) -> Result<Cow<'_, [f32]>> {
        self.read_entry(name, self.entry(name)?)
    }
}

struct Prefixed<'a> {
    tensors: &'a Tensors,
    prefix: &'a str,
}

impl TensorSource for Prefixed<'_> {
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.tensors.names().filter_map(|name| name.strip_prefix(self.prefix)))
    }

    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.shape(&format!("{}{name}", self.prefix))
    }

    fn read(&self, name: &str) -> Result<Cow<'_, [f32]>> {
        self.tensors.read(&format!("{}{name}", self.prefix))
    }
}
