//! `aquatint predict`

use super::device::DeviceFlag;
use super::sample::{to_nchw, to_nhwc};
use crate::checkpoint::{ModelFolder, Tensors, write_tensors};
use crate::error::{Error, Result};
use crate::nn::{ClassEmbedType, Forward};
use crate::plan::{Element, Step};
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs the network once on tensors from a file
#[derive(clap::Args)]
#[command(after_help = "Example: aquatint predict runs/digits --input in.safetensors --output out.safetensors\n\n\
    The input holds `sample` (f32, [N, C, H, W]), `timestep` (i64 or f32, [N]) and, for a conditional model, \
    `class_labels` (i64, [N]; f32, [N, time_embedding_dim], where class_embed_type is identity); the output holds `output` (f32, [N, C, H, W]).")]
pub(super) struct Predict {
    /// A model folder, a run's or one in diffusers' layout, or a file of weights beside its config.json
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
        let file = Tensors::open(&self.input)?;
        let source = self.input.display().to_string();
        let shape = file.sizes("sample")?;
        let &[n, channels, height, width] = shape else {
            return Err(Error::input(format!("{source}: tensor sample has shape {shape:?}, expected [N, C, H, W]")));
        };
        if n == 0 || channels != config.in_channels {
            let expected = config.in_channels;
            return Err(Error::input(format!(
                "{source}: tensor sample has shape {shape:?}, expected at least one picture of {expected} channels"
            )));
        }
        config.check_size(height, width, &source)?;
        let sample = file.finite("sample", shape)?;
        let timesteps = file.finite("timestep", &[n])?;
        config.check_timesteps(&timesteps, &source)?;
        let labels = match config.class_embed_type {
            None => match config.num_class_embeds {
                None => None,
                Some(classes) => {
                    let labels = file.finite("class_labels", &[n])?;
                    let bad = |label: &&f32| !(0.0..classes as f32).contains(*label) || label.fract() != 0.0;
                    if let Some(bad) = labels.iter().find(bad) {
                        let last = classes - 1;
                        return Err(Error::input(format!(
                            "{source}: class_labels holds {bad}, expected whole numbers from 0 to {last}"
                        )));
                    }
                    Some(labels)
                }
            },
            Some(ClassEmbedType::Timestep) => {
                let labels = file.finite("class_labels", &[n])?;
                config.check_timesteps(&labels, &format!("{source}: class_labels"))?;
                Some(labels)
            }
            Some(ClassEmbedType::Identity) => Some(file.finite("class_labels", &[n, config.embedding_channels()])?),
        };

        let forward = Forward::new(&model.unet, n, [height, width])?;
        let mut device = self.device.open()?;
        let id = device.load(&forward.plan)?;
        device.upload(&forward.weights, 0, &model.weights)?;
        device.upload(&forward.pictures, 0, &to_nhwc(&sample, [n, channels, height, width]))?;
        device.upload(&forward.timesteps, 0, &timesteps)?;
        match (labels, &forward.labels) {
            (Some(labels), Some(storage)) if storage.element() == Element::U32 => {
                let labels: Vec<u32> = labels.iter().map(|&label| label as u32).collect();
                device.upload_integers(storage, 0, &labels)?;
            }
            (Some(labels), Some(storage)) => device.upload(storage, 0, &labels)?,
            (None, _) | (_, None) => {}
        }
        device.run(id, &Step::default())?;
        let shape = [n, config.out_channels, height, width];
        let output = to_nchw(&device.download(&forward.output)?, shape);
        write_tensors(&self.output, &[("output".into(), shape.to_vec(), output)], &[])?;
        Ok(ExitCode::SUCCESS)
    }
}
