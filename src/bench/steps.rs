//! Whole steps: training, the network forward, one step of sampling.

use super::networks::Reference;
use super::{Bench, Options, Work, any_step};
use crate::device::Device;
use crate::diffusion::{Chain, ChainOptions, Sampler, SchedulerConfig, StepNoise};
use crate::error::Result;
use crate::kernels::{Fill, Input, loss_scale};
use crate::nn::{Forward, UNet};
use crate::plan::Storage;
use crate::training::{RunConfig, Trainer, TrainingConfig};

/// The three steps of a network.
pub(super) fn steps(network: &Reference, options: &Options) -> [Bench; 3] {
    let forward_batch = options.batch.unwrap_or(network.forward_batch);
    let train_batch = options.batch.unwrap_or(network.train_batch);
    let options = options.clone();
    let [for_train, for_forward, for_sample] = [network.clone(), network.clone(), network.clone()];
    let name = network.name;
    [
        Bench::new(format!("train/{name}/b{train_batch}{}", options.suffix()), true, move || {
            train(&for_train, train_batch, &options)
        }),
        Bench::new(format!("forward/{name}/b{forward_batch}"), true, move || forward(&for_forward, forward_batch)),
        Bench::new(format!("sample/{name}/b{forward_batch}"), true, move || sample(&for_sample, forward_batch)),
    ]
}

fn upload(device: &mut dyn Device, storage: &Storage, fill: Fill) -> Result<()> {
    device.upload(storage, 0, &Input { shape: vec![storage.len()], fill, differentiate: false }.floats(0))
}

fn timesteps(batch: usize) -> Vec<f32> {
    (0..batch).map(|picture| (picture * 997 % 1000) as f32).collect()
}

/// Forward process, network, loss, backward, clipping, optimiser, moving average.
pub(super) fn train(network: &Reference, batch: usize, options: &Options) -> Result<Work> {
    let config = RunConfig {
        unet: network.config.clone(),
        scheduler: SchedulerConfig::default(),
        training: TrainingConfig {
            train_batch_size: batch,
            recompute: options.recompute,
            precision: options.precision,
            ..TrainingConfig::default()
        },
    };
    let trainer = Trainer::new(&config, network.size())?;
    let plan = trainer.plan().clone();
    let prepare = move |device: &mut dyn Device| {
        let weights = trainer.parameters().initialize(0);
        for storage in trainer.plan().storages() {
            match storage.name() {
                "parameters" | "moving average" => device.upload(storage, 0, &weights)?,
                "pictures" => upload(device, storage, Fill::Uniform(-1.0, 1.0))?,
                "loss scale" => device.upload(storage, 0, &loss_scale::INITIAL)?,
                "one" => device.upload(storage, 0, &[1.0])?,
                _ => {}
            }
        }
        Ok(())
    };
    Ok(Work { plan, step: any_step(), prepare: Box::new(prepare) })
}

fn forward(network: &Reference, batch: usize) -> Result<Work> {
    let unet = UNet::new(&network.config)?;
    let Forward { plan, weights, pictures, timesteps: t, .. } = Forward::new(&unet, batch, network.size())?;
    let prepare = move |device: &mut dyn Device| {
        device.upload(&weights, 0, &unet.parameters().initialize(0))?;
        device.upload(&t, 0, &timesteps(batch))?;
        upload(device, &pictures, Fill::Normal(1.0))
    };
    Ok(Work { plan, step: any_step(), prepare: Box::new(prepare) })
}

/// The network, then the update, as sampling runs them.
pub(super) fn sample(network: &Reference, batch: usize) -> Result<Work> {
    let unet = UNet::new(&network.config)?;
    let weights = Storage::f32("weights", unet.parameters().len());
    let chain = Chain::new(&SchedulerConfig::default(), ChainOptions::default())?;
    let sampler = Sampler::new(&unet, &weights, chain, batch, network.size(), StepNoise::Drawn)?;
    let plan = sampler.plan().clone();
    let prepare = move |device: &mut dyn Device| {
        for storage in sampler.plan().storages() {
            match storage.name() {
                "weights" => device.upload(storage, 0, &unet.parameters().initialize(0))?,
                "pictures" => upload(device, storage, Fill::Normal(1.0))?,
                "sampler's table" => device.upload(storage, 0, &sampler.chain().table())?,
                "timesteps" => device.upload(storage, 0, &timesteps(batch))?,
                _ => {}
            }
        }
        Ok(())
    };
    Ok(Work { plan, step: any_step(), prepare: Box::new(prepare) })
}
