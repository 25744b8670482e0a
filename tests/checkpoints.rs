//! Every layout and format in which diffusers and PyTorch keep a model gives the same weights.

use aquatint::checkpoint::{ModelFolder, Tensors, WeightType};
use aquatint::diffusion::SchedulerConfig;
use aquatint::nn::{TensorSource, UNet, UNetConfig};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const WEIGHTS: &str = "unet/diffusion_pytorch_model.safetensors";

fn model() -> ModelFolder {
    let json = serde_json::json!({
        "sample_size": 8, "in_channels": 1, "out_channels": 1, "block_out_channels": [8, 16], "layers_per_block": 1,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
        "norm_num_groups": 4, "attention_head_dim": 8,
    });
    let unet = UNet::new(&UNetConfig::from_json(&json, "test").unwrap()).unwrap();
    let weights = unet.parameters().initialize(3);
    let scheduler = SchedulerConfig::from_json(&serde_json::json!({"num_train_timesteps": 77}), "test").unwrap();
    ModelFolder { unet, scheduler, weights }
}

/// A pipeline's folder.
fn pipeline() -> (ModelFolder, TempDir) {
    let (model, folder) = (model(), tempfile::tempdir().unwrap());
    model.write(folder.path()).unwrap();
    (model, folder)
}

#[track_caller]
fn same(path: &Path, expected: &ModelFolder, timesteps: usize) {
    let read = ModelFolder::read(path).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(read.unet.config(), expected.unet.config());
    assert!(read.weights == expected.weights, "{}", path.display());
    assert_eq!(read.scheduler.num_train_timesteps, timesteps);
}

/// A safetensors file's tensors by other code than ours: (type, sizes, bytes).
fn tensors(path: &Path) -> HashMap<String, (Dtype, Vec<usize>, Vec<u8>)> {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |view: TensorView| (view.dtype(), view.shape().to_vec(), view.data().to_vec());
    file.iter().map(|(name, view)| (name.to_string(), tensor(view))).collect()
}

fn write(path: &Path, tensors: &HashMap<String, (Dtype, Vec<usize>, Vec<u8>)>) {
    let views: Vec<_> = tensors
        .iter()
        .map(|(name, (of, shape, data))| (name.as_str(), TensorView::new(*of, shape.clone(), data).unwrap()))
        .collect();
    safetensors::serialize_to_file(views, None, path).unwrap();
}

#[test]
fn every_layout_of_folders() {
    let (model, folder) = pipeline();
    let at = |name: &str| folder.path().join(name);
    same(folder.path(), &model, 77);
    same(&at("unet"), &model, 77);
    same(&at(WEIGHTS), &model, 77);
    same(&at("model_index.json"), &model, 77);
    // The parts without the index, the network alone, everything in one folder.
    let index = fs::read(at("model_index.json")).unwrap();
    fs::remove_file(at("model_index.json")).unwrap();
    same(folder.path(), &model, 77);
    let scheduler = fs::read(at("scheduler/scheduler_config.json")).unwrap();
    fs::remove_dir_all(at("scheduler")).unwrap();
    same(&at("unet"), &model, 1000);
    fs::write(at("unet/scheduler_config.json"), &scheduler).unwrap();
    same(&at("unet"), &model, 77);
    fs::write(at("unet/model_index.json"), &index).unwrap();
    same(&at("unet"), &model, 77);
    // Other names of the weights.
    for name in ["diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.bin", "model.safetensors"] {
        let _ = fs::rename(at(WEIGHTS), at("unet").join(name));
        if name.ends_with(".bin") {
            let error = ModelFolder::read(&at("unet")).err().unwrap().to_string();
            assert!(error.contains("not a zip archive"), "{error}");
        } else {
            same(&at("unet"), &model, 77);
        }
        fs::rename(at("unet").join(name), at(WEIGHTS)).unwrap();
    }
}

#[test]
fn several_files_with_an_index() {
    let (model, folder) = pipeline();
    let whole = folder.path().join(WEIGHTS);
    let all = tensors(&whole);
    fs::remove_file(&whole).unwrap();
    let mut map = serde_json::Map::new();
    for shard in 0..3 {
        let file = format!("diffusion_pytorch_model-{shard}.safetensors");
        let part: HashMap<_, _> =
            all.iter().filter(|(name, _)| name.len() % 3 == shard).map(|(k, v)| (k.clone(), v.clone())).collect();
        map.extend(part.keys().map(|name| (name.clone(), file.clone().into())));
        write(&whole.with_file_name(file), &part);
    }
    let index = whole.with_file_name("diffusion_pytorch_model.safetensors.index.json");
    fs::write(&index, serde_json::json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string()).unwrap();
    same(folder.path(), &model, 77);
    same(&index, &model, 77);
}

#[test]
fn old_names_of_attention() {
    let (model, folder) = pipeline();
    let path = folder.path().join(WEIGHTS);
    let old = [("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")];
    let renamed = |convolutions: bool| {
        let rename = |(name, (of, mut shape, data)): (String, (Dtype, Vec<usize>, Vec<u8>))| {
            let mut new = name.clone();
            for (from, to) in old {
                new = new.replace(&format!(".{from}."), &format!(".{to}."));
            }
            if convolutions && new != name && shape.len() == 2 {
                shape.extend([1, 1]);
            }
            (new, (of, shape, data))
        };
        tensors(&path).into_iter().map(rename).collect::<HashMap<_, _>>()
    };
    let convolutions = renamed(true);
    write(&path, &renamed(false));
    assert!(Tensors::open(&path).unwrap().shape("mid_block.attentions.0.proj_attn.bias").is_some());
    same(folder.path(), &model, 77);
    write(&path, &convolutions);
    same(folder.path(), &model, 77);
}

#[test]
fn halves_are_written_and_read() {
    let (model, folder) = pipeline();
    let types = [
        (WeightType::F16, Dtype::F16, 2f32.powi(-11)),
        (WeightType::BF16, Dtype::BF16, 2f32.powi(-8)),
        (WeightType::F32, Dtype::F32, 0.0),
    ];
    for (of, dtype, bound) in types {
        let out = folder.path().join(format!("{of:?}"));
        model.write_as(&out, of).unwrap();
        let written = tensors(&out.join(WEIGHTS));
        assert_eq!(written.len(), model.unet.parameters().iter().count());
        assert!(written.values().all(|(found, ..)| *found == dtype));
        let read = ModelFolder::read(&out).unwrap();
        let error = |(a, b): (&f32, &f32)| (a - b).abs() / a.abs().max(1e-4);
        let worst = model.weights.iter().zip(&read.weights).map(error).fold(0.0, f32::max);
        assert!(worst <= bound && (worst > 0.0 || bound == 0.0), "{of:?}: {worst}");
    }
    let mut large = model;
    large.weights[0] = 1e6;
    let out = folder.path().join("large");
    let error = large.write_as(&out, WeightType::F16).unwrap_err().to_string();
    assert!(error.contains("conv_in.weight holds 1000000"), "{error}");
    assert!(!out.exists());
}

#[test]
fn what_torch_saves() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torch");
    let file = Tensors::open(&folder.join("tensors.pt")).unwrap();
    let is = |name: &str, shape: &[usize], data: &[f32]| {
        let (found, read) = file.get(name).unwrap();
        assert_eq!((found, &read[..]), (shape, data), "{name}");
    };
    is("channels_last", &[2, 3, 2, 2], &std::array::from_fn::<f32, 24, _>(|i| i as f32));
    is("transposed", &[3, 2], &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    is("slice", &[3], &[2.0, 5.0, 8.0]);
    is("half", &[2], &[0.5, -2.0]);
    is("bfloat16", &[2], &[0.5, -3.0]);
    is("double", &[1], &[0.1]);
    is("integers", &[1, 2], &[-1.0, 2.0]);
    is("scalar", &[], &[7.0]);
    assert_eq!(file.names().count(), 8);
    let nested = Tensors::open(&folder.join("nested_protocol5.pt")).unwrap();
    assert_eq!(nested.names().collect::<Vec<_>>(), ["w"]);
    assert_eq!(nested.read("w").unwrap()[..], [1.0, 1.0]);
}
