//! `aquatint predict`

use super::device::DeviceFlag;
use super::sample::{to_nchw, to_nhwc};
use crate::checkpoint::{ModelFolder, read_tensors, write_tensors};
use crate::error::{Error, Result};
use crate::kernels::timestep_embedding::LARGEST_TIMESTEP;
use crate::nn::{Network, Recompute};
use crate::plan::{Recorder, Step, Storage};
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs the network once on tensors from a file
#[derive(clap::Args)]
#[command(after_help = "Example: aquatint predict runs/digits --input in.safetensors --output out.safetensors\n\n\
    The input holds `sample` (f32, [N, C, H, W]), `timestep` (i64 or f32, [N]) and, for a conditional model, \
    `class_labels` (i64, [N]); the output holds `output` (f32, [N, C, H, W]).")]
pub(super) struct Predict {
    /// A model folder: a run's, or one in diffusers' layout
    model: PathBuf,
    /// A safetensors file
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// A safetensors file
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    device: DeviceFlag,
}

impl Predict {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let model = ModelFolder::read_network(&self.model)?;
        let config = model.unet.config();
        let file = read_tensors(&self.input)?;
        let source = self.input.display().to_string();
        let (shape, sample) = file.get("sample", &self.input)?;
        let &[n, channels, height, width] = &shape[..] else {
            return Err(Error::input(format!("{source}: tensor sample has shape {shape:?}, expected [N, C, H, W]")));
        };
        if n == 0 || channels != config.in_channels {
            let expected = config.in_channels;
            return Err(Error::input(format!(
                "{source}: tensor sample has shape {shape:?}, expected at least one picture of {expected} channels"
            )));
        }
        if sample.iter().any(|value| !value.is_finite()) {
            return Err(Error::input(format!("{source}: tensor sample is not finite")));
        }
        config.check_size(height, width, &source)?;
        let list = |name: &str, allowed: &dyn Fn(f32) -> bool, expected: &str| -> Result<&Vec<f32>> {
            let (found, data) = file.get(name, &self.input)?;
            if *found != [n] {
                return Err(Error::input(format!("{source}: tensor {name} has shape {found:?}, expected [{n}]")));
            }
            match data.iter().find(|&&value| !allowed(value)) {
                Some(bad) => Err(Error::input(format!("{source}: {name} holds {bad}, expected {expected}"))),
                None => Ok(data),
            }
        };
        let timesteps = list("timestep", &|t| (0.0..LARGEST_TIMESTEP).contains(&t), "0 to 2^24")?;
        let labels = match config.num_class_embeds {
            None => None,
            Some(classes) => {
                let allowed = |label: f32| (0.0..classes as f32).contains(&label) && label.fract() == 0.0;
                let labels = list("class_labels", &allowed, &format!("whole numbers from 0 to {}", classes - 1))?;
                Some(labels.iter().map(|&label| label as u32).collect::<Vec<_>>())
            }
        };

        let storage = |name: &str, len: usize| Storage::f32(name, len);
        let (weights, x) = (storage("weights", model.weights.len()), storage("sample", sample.len()));
        let (t, classes) = (storage("timesteps", n), Storage::u32("class labels", n));
        let mut r = Recorder::new();
        let x_value = r.input(&x, &[n, height, width, channels]);
        let t_value = r.input(&t, &[n]);
        let label_value = labels.as_ref().map(|_| r.input(&classes, &[n]));
        let mut net = Network {
            r: &mut r,
            parameters: model.unet.parameters(),
            weights: &weights,
            gradients: None,
            halves: None,
            recompute: Recompute::None,
        };
        let output = model.unet.record(&mut net, x_value, t_value, label_value)?;
        let output = r.export("output", output);
        let plan = r.finish();

        let mut device = self.device.open()?;
        let id = device.load(&plan)?;
        device.upload(&weights, 0, &model.weights)?;
        device.upload(&x, 0, &to_nhwc(sample, [n, channels, height, width]))?;
        device.upload(&t, 0, timesteps)?;
        if let Some(labels) = labels {
            device.upload_integers(&classes, 0, &labels)?;
        }
        device.run(id, &Step::default())?;
        let shape = [n, config.out_channels, height, width];
        let output = to_nchw(&device.download(&output)?, shape);
        write_tensors(&self.output, &[("output".into(), shape.to_vec(), output)], &[])?;
        Ok(ExitCode::SUCCESS)
    }
}
