//! Networks and chains against diffusers' numbers, in every file layout: `tests/parity/cases`, which
//! `tests/parity/run --write-cases` writes. `make parity` compares many more with diffusers itself.

mod devices;
mod reference;
#[path = "reference/tensor_file.rs"]
mod tensor_file;

use aquatint::checkpoint::ModelFolder;
use aquatint::device::{Device, Host};
use aquatint::diffusion::{Chain, ChainOptions, Request, Sampler, SamplerName, StepNoise};
use aquatint::nn::Forward;
use aquatint::plan::{Element, Step, Storage};
use reference::{Tensor, assert_close};
use std::path::{Path, PathBuf};
use tensor_file::{TensorFile, read_tensors};

const FORWARD: f32 = 1e-4;
const CHAIN: f32 = 1e-3;
/// The cases that also run on the GPU: every kernel of a network and of a chain is in one of them.
const ON_GPU: [&str; 12] = [
    "plain",
    "ddpm-cifar",
    "resnet-resampling",
    "fourier",
    "scale-shift-norm",
    "learned-range",
    "skip",
    "act-mish",
    "thresholding",
    "classes-timestep",
    "centered",
    "heun-folder",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/cases")
}

struct Case {
    name: String,
    model: ModelFolder,
    expected: TensorFile,
}

impl Case {
    fn read(folder: &Path) -> Self {
        Self {
            name: folder.file_name().unwrap().to_string_lossy().into_owned(),
            model: ModelFolder::read(&folder.join("model")).unwrap(),
            expected: read_tensors(&folder.join("expected.safetensors")).unwrap(),
        }
    }

    fn get(&self, name: &str) -> Tensor {
        let (shape, data) = self.expected.tensors[name].clone();
        Tensor { shape, data, integers: Vec::new() }
    }

    fn labels(&self) -> Option<Vec<f32>> {
        self.expected.tensors.get("in/class_labels").map(|(_, data)| data.clone())
    }

    fn whole_labels(&self) -> Option<Vec<u32>> {
        self.labels().map(|labels| labels.iter().map(|&label| label as u32).collect())
    }

    fn check_forward(&self, device: &mut dyn Device) {
        let (shape, sample) = self.get("in/sample").nhwc();
        let forward = Forward::new(&self.model.unet, shape[0], [shape[1], shape[2]]).unwrap();
        let id = device.load(&forward.plan).unwrap();
        device.upload(&forward.weights, 0, &self.model.weights).unwrap();
        device.upload(&forward.pictures, 0, &sample).unwrap();
        device.upload(&forward.timesteps, 0, &self.get("in/timestep").data).unwrap();
        match &forward.labels {
            Some(labels) if labels.element() == Element::U32 => {
                device.upload_integers(labels, 0, &self.whole_labels().unwrap()).unwrap();
            }
            Some(labels) => device.upload(labels, 0, &self.labels().unwrap()).unwrap(),
            None => {}
        }
        device.run(id, &Step::default()).unwrap();
        let found = device.download(&forward.output).unwrap();
        assert_close(&self.name, &found, &self.get("output").nhwc().1, FORWARD, 0.0);
        device.unload(id);
        forward.plan.storages().for_each(|storage| device.release(storage));
    }

    fn check_chains(&self, device: &mut dyn Device) {
        let chains: Vec<(String, usize, f64)> = serde_json::from_str(&self.expected.metadata["chains"]).unwrap();
        assert!(chains.len() >= 3, "{}: a case has DDIM, DPM-Solver++ and DDPM", self.name);
        for (number, (sampler, steps, eta)) in chains.iter().enumerate() {
            let what = format!("{} {sampler}-{steps} eta {eta}", self.name);
            let found = self.sample(device, sampler, *steps, *eta);
            assert_close(&what, &found, &self.get(&format!("chain/{number}")).nhwc().1, CHAIN, 0.0);
        }
    }

    fn sample(&self, device: &mut dyn Device, sampler: &str, steps: usize, eta: f64) -> Vec<f32> {
        let name = match sampler {
            "ddpm" => SamplerName::Ddpm,
            "ddim" => SamplerName::Ddim,
            "dpmpp-2m" => SamplerName::DpmSolver,
            "unipc" => SamplerName::UniPc,
            "euler" => SamplerName::Euler,
            "heun" => SamplerName::Heun,
            other => panic!("{other}"),
        };
        let diffusers_exact = sampler == "ddim";
        let options =
            ChainOptions { sampler: Some(name), steps: Some(steps), eta, diffusers_exact, ..ChainOptions::default() };
        let chain = Chain::new(&self.model.scheduler, options).unwrap();
        let (shape, initial) = self.get("initial").nhwc();
        let draws = sampler == "ddpm" || eta > 0.0;
        let step_noise = draws.then(|| {
            let noise = self.get("noise");
            let Tensor { shape, data, .. } = &noise;
            let pictures = Tensor {
                shape: [&[shape[0] * shape[1]], &shape[2..]].concat(),
                data: data.clone(),
                integers: Vec::new(),
            };
            pictures.nhwc().1[..steps * initial.len()].to_vec()
        });
        let given = if draws { StepNoise::Given } else { StepNoise::Drawn };
        let weights = Storage::f32("weights", self.model.weights.len());
        let size = [shape[1], shape[2]];
        let mut sampler = Sampler::new(&self.model.unet, &weights, chain, shape[0], size, given).unwrap();
        sampler.load(device).unwrap();
        device.upload(&weights, 0, &self.model.weights).unwrap();
        let request = Request {
            count: shape[0],
            labels: self.whole_labels(),
            initial_noise: Some(initial),
            step_noise,
            ..Request::default()
        };
        sampler.sample(device, &request, |_, _, _| Ok(())).unwrap()
    }
}

fn cases() -> Vec<Case> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() >= 20, "{} holds {} cases", folder().display(), folders.len());
    folders.iter().map(|folder| Case::read(folder)).collect()
}

#[test]
fn the_host_agrees_with_diffusers() {
    for case in cases() {
        let mut host = Host::<f32>::new();
        case.check_forward(&mut host);
        case.check_chains(&mut host);
    }
}

#[test]
fn the_gpu_agrees_with_diffusers() {
    for name in ON_GPU {
        let Some(mut gpu) = devices::gpu(Default::default()) else { return };
        let case = Case::read(&folder().join(name));
        case.check_forward(&mut gpu);
        case.check_chains(&mut gpu);
    }
}

#[test]
fn every_layout_is_among_the_cases() {
    let holds = |case: &str, file: &str| folder().join(case).join("model").join(file).is_file();
    assert!(holds("plain", "unet/diffusion_pytorch_model.safetensors"));
    assert!(holds("sharded", "unet/diffusion_pytorch_model.safetensors.index.json"));
    assert!(holds("pickled", "unet/diffusion_pytorch_model.bin"));
    assert!(holds("flat", "diffusion_pytorch_model.safetensors") && holds("flat", "scheduler_config.json"));
    assert!(holds("flat-pickled", "diffusion_pytorch_model.bin"));
}
