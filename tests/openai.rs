//! OpenAI's checkpoints: the converted networks give what a restatement of OpenAI's in PyTorch gives
//! (`tests/parity/openai.py`), and what `UNet2DModel` cannot be is refused by name.

mod reference;
#[path = "reference/tensor_file.rs"]
mod tensor_file;

use aquatint::checkpoint::openai::{self, OpenAi, Unstated};
use aquatint::device::{Device, Host};
use aquatint::nn::{Forward, TensorSource};
use aquatint::plan::Step;
use clap::{Args, FromArgMatches};
use reference::{Tensor, assert_close};
use std::collections::HashMap;
use std::path::Path;
use tensor_file::{TensorFile, read_tensors};

type Tensors = HashMap<String, (Vec<usize>, Vec<f32>)>;

fn crc32(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), bit))
}

/// A tensor by its name and sizes, as openai.py makes it.
fn formula(name: &str, shape: &[usize]) -> Vec<f32> {
    let key = crc32(name.as_bytes());
    let fan_in: usize = shape[1..].iter().product();
    let unit = |index: usize| {
        let mut x = (index as u32).wrapping_mul(0x9E37_79B9).wrapping_add(key);
        for (shift, factor) in [(16, 0x85EB_CA6B_u32), (13, 0xC2B2_AE35)] {
            x = (x ^ x >> shift).wrapping_mul(factor);
        }
        (x >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let value = |index: usize| match shape.len() {
        1 if name.ends_with("weight") => 1.0 + 0.25 * unit(index),
        1 => 0.25 * unit(index),
        _ if name == "label_emb.weight" => unit(index),
        _ => unit(index) * (3.0 / fan_in as f64).sqrt() as f32,
    };
    (0..shape.iter().product()).map(value).collect()
}

struct Case {
    tensors: Tensors,
    unstated: Unstated,
    file: TensorFile,
}

impl Case {
    fn read(path: &Path) -> Self {
        let file = read_tensors(path).unwrap();
        let tensors: Vec<(String, Vec<usize>)> = serde_json::from_str(&file.metadata["tensors"]).unwrap();
        let flags: Vec<String> = serde_json::from_str(&file.metadata["flags"]).unwrap();
        let command = Unstated::augment_args(clap::Command::new("convert"));
        let matches = command.get_matches_from(["convert".to_string()].into_iter().chain(flags));
        let tensor = |(name, shape): (String, Vec<usize>)| {
            let data = formula(&name, &shape);
            (name, (shape, data))
        };
        let unstated = Unstated::from_arg_matches(&matches).unwrap();
        Self { tensors: tensors.into_iter().map(tensor).collect(), unstated, file }
    }

    fn named(name: &str) -> Self {
        Self::read(&folder().join(format!("{name}.safetensors")))
    }

    fn get(&self, name: &str) -> Tensor {
        let (shape, data) = self.file.tensors[name].clone();
        Tensor { shape, data, integers: Vec::new() }
    }

    /// The error of a network that `change` has made another.
    fn refusal(mut self, change: impl FnOnce(&mut Self)) -> String {
        change(&mut self);
        openai::read(&self.tensors, "model.pt", &self.unstated).err().expect("refused").to_string()
    }
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/openai")
}

#[test]
fn converted_networks_give_openais_numbers() {
    let paths: Vec<_> = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(paths.len() >= 6, "{paths:?}");
    for path in paths {
        let case = Case::read(&path);
        let model = openai::read(&case.tensors, "model.pt", &case.unstated).unwrap();
        let (shape, sample) = case.get("in/sample").nhwc();
        let forward = Forward::new(&model.unet, shape[0], [shape[1], shape[2]]).unwrap();
        let mut host = Host::<f32>::new();
        let id = host.load(&forward.plan).unwrap();
        host.upload(&forward.weights, 0, &model.weights).unwrap();
        host.upload(&forward.pictures, 0, &sample).unwrap();
        host.upload(&forward.timesteps, 0, &case.get("in/timestep").data).unwrap();
        if let Some(labels) = &forward.labels {
            let wanted: Vec<u32> = case.get("in/class_labels").data.iter().map(|&label| label as u32).collect();
            host.upload_integers(labels, 0, &wanted).unwrap();
        }
        host.run(id, &Step::default()).unwrap();
        let found = host.download(&forward.output).unwrap();
        assert_close(&path.display().to_string(), &found, &case.get("output").nhwc().1, 1e-4, 0.0);
    }
}

#[test]
fn both_orders_of_attention_are_told_apart() {
    let case = Case::named("guided");
    let name = "middle_block.1.qkv.weight";
    let (shape, data) = &case.tensors[name];
    let row = shape[1];
    let key = |new_order: bool| {
        let unstated = Unstated { new_attention_order: new_order, ..case.unstated.clone() };
        let converted = OpenAi::new(&case.tensors, &unstated).unwrap();
        converted.read("mid_block.attentions.0.to_k.weight").unwrap()[..row].to_vec()
    };
    // The first key comes after all queries, or after those of the first head.
    assert_eq!(key(true), data[shape[0] / 3 * row..][..row]);
    assert_eq!(key(false), data[16 * row..][..row]);
}

/// Leaves the finest level no channels.
fn without_channels(case: &mut Case) {
    let finest = case.tensors["input_blocks.1.0.out_layers.3.weight"].0[0];
    for (name, (shape, data)) in &mut case.tensors {
        let qkv = if name.contains(".qkv.") { 3 * finest } else { finest };
        shape.iter_mut().filter(|size| [finest, qkv].contains(size)).for_each(|size| *size = 0);
        data.truncate(shape.iter().product());
    }
}

#[test]
fn what_unet2d_cannot_be_is_refused_by_name() {
    let remove = |prefix: &'static str| move |case: &mut Case| case.tensors.retain(|name, _| !name.starts_with(prefix));
    for (error, expected) in [
        (Case::named("improved").refusal(remove("output_blocks")), "classifier"),
        (Case::named("improved").refusal(remove("input_blocks.2.0.op")), "conv_resample=False"),
        (Case::named("improved").refusal(remove("out.2.bias")), "tensor out.2.bias is missing"),
        (Case::named("improved").refusal(|case| case.unstated.num_heads = 0), "--num-heads"),
        (Case::named("improved").refusal(|case| case.unstated.num_heads = 5), "--num-heads 5"),
        (Case::named("improved").refusal(|case| case.unstated.diffusion_steps = 4000), "--no-rescale-timesteps"),
        (
            Case::named("guided")
                .refusal(|case| (case.unstated.num_head_channels, case.unstated.num_heads) = (None, 2)),
            "heads are of different sizes",
        ),
        (Case::named("guided").refusal(without_channels), "attention over 0 channels"),
        (
            Case::named("improved").refusal(|case| {
                case.tensors.insert("input_blocks.999999999999.0.weight".into(), (vec![1], vec![0.0]));
            }),
            "no place",
        ),
        (
            Case::named("improved").refusal(|case| {
                case.tensors.insert("input_blocks.0.0.weight".into(), (vec![32, 6, 3, 3], vec![0.0; 32 * 54]));
            }),
            "small pictures larger",
        ),
    ] {
        assert!(error.starts_with("model.pt: ") && error.contains(expected) && !error.contains('\n'), "{error}");
    }
}
