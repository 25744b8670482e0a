//! What holds for any bytes: a parser takes them or refuses them in one line. The targets call these with libFuzzer's
//! inputs, and aquatint's own tests with those that are kept.
#![allow(dead_code)]

use aquatint::checkpoint::openai::{self, Unstated};
use aquatint::checkpoint::{Tensors, parse_shard_index};
use aquatint::diffusion::SchedulerConfig;
use aquatint::nn::{TensorSource, UNet, UNetConfig};
use aquatint::{Error, Result};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// More elements than these are not asked for: reading them takes memory that the file has a right to.
const MOST_ELEMENTS: usize = 1 << 24;

fn one_line<T>(result: Result<T>) -> Option<T> {
    let error = match result {
        Ok(value) => return Some(value),
        Err(error) => error,
    };
    assert!(matches!(error, Error::Input(_) | Error::Shape { .. }), "{error:?}");
    let text = error.to_string();
    assert!(!text.contains(|c: char| c.is_control()), "{text:?}");
    assert!(text.len() < 2000, "a line of {} bytes", text.len());
    None
}

/// Opens a file of weights and reads all of them.
fn weights(bytes: &[u8], source: &str) {
    let Some(tensors) = one_line(Tensors::from_bytes(bytes.to_vec(), source)) else { return };
    for name in tensors.names() {
        let elements = count(tensors.shape(name).unwrap());
        if elements.is_some_and(|elements| elements <= MOST_ELEMENTS)
            && let Some(data) = one_line(tensors.read(name))
        {
            assert_eq!(Some(data.len()), elements);
        }
    }
}

/// A safetensors file.
pub fn safetensors(bytes: &[u8]) {
    weights(bytes, "a.safetensors");
}

/// A zip archive of `torch.save`.
pub fn torch(bytes: &[u8]) {
    weights(bytes, "a.pt");
}

/// The pickle in such an archive, beside two storages of 256 bytes, one of them deflated.
pub fn pickle(bytes: &[u8]) {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let members = [
        ("a/data.pkl", bytes, CompressionMethod::Stored),
        ("a/data/0", &[1; 256][..], CompressionMethod::Stored),
        ("a/data/1", &[2; 256][..], CompressionMethod::Deflated),
    ];
    for (name, content, method) in members {
        archive.start_file(name, SimpleFileOptions::default().compression_method(method)).unwrap();
        archive.write_all(content).unwrap();
    }
    weights(&archive.finish().unwrap().into_inner(), "a.pt");
}

/// The index of a checkpoint in several files.
pub fn shard_index(bytes: &[u8]) {
    for (_, file) in one_line(parse_shard_index(bytes, "a.index.json")).unwrap_or_default() {
        let path = std::path::Path::new("folder").join(file);
        assert_eq!(path.parent(), Some(std::path::Path::new("folder")));
    }
}

/// The configuration of a network or a scheduler.
pub fn config(bytes: &[u8]) {
    let Ok(json) = serde_json::from_slice(bytes) else { return };
    if let Some(config) = one_line(UNetConfig::from_json(&json, "config.json")) {
        one_line(UNet::new(&config));
        assert_eq!(UNetConfig::from_json(&config.to_json(), "again").unwrap(), config);
    }
    if let Some(config) = one_line(SchedulerConfig::from_json(&json, "scheduler_config.json")) {
        // Keys that its class does not have are not written.
        let written = config.to_json();
        assert_eq!(SchedulerConfig::from_json(&written, "again").unwrap().to_json(), written);
    }
}

/// Tensors of zeros.
struct Zeros(BTreeMap<String, Vec<usize>>);

impl TensorSource for Zeros {
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.0.keys().map(String::as_str))
    }

    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.0.get(name).map(|shape| &shape[..])
    }

    fn read(&self, name: &str) -> Result<Cow<'_, [f32]>> {
        let elements = self.0.get(name).and_then(|shape| count(shape)).filter(|count| *count <= MOST_ELEMENTS);
        elements.map(|count| vec![0.0; count].into()).ok_or_else(|| Error::Input(format!("no tensor {name}")))
    }
}

/// Elements of a shape, as a file has them.
fn count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size))
}

/// An OpenAI checkpoint: a byte of what it does not say, then a line for each tensor, of its name and sizes.
pub fn openai(bytes: &[u8]) {
    let Some((&unsaid, lines)) = bytes.split_first() else { return };
    let mut tensors = BTreeMap::new();
    for line in String::from_utf8_lossy(lines).lines() {
        let mut words = line.split_whitespace();
        let Some(name) = words.next().filter(|name| name.len() <= 512 && !name.contains(char::is_control)) else {
            continue;
        };
        let shape: Vec<usize> = words.filter_map(|size| size.parse().ok()).collect();
        if count(&shape).is_some() {
            tensors.insert(name.to_string(), shape);
        }
    }
    let unstated = Unstated {
        num_heads: usize::from(unsaid & 3),
        num_head_channels: (unsaid & 4 != 0).then_some(usize::from(unsaid >> 3 & 3) * 16),
        new_attention_order: unsaid & 32 != 0,
        image_size: 16 << (unsaid >> 6 & 1),
        no_rescale_timesteps: unsaid & 128 != 0,
        ..Unstated::default()
    };
    one_line(openai::read(&Zeros(tensors), "a.pt", &unstated));
}
