//! Drawing and inverting along the probability-flow ODE with steps of a tolerance.

use super::device::DeviceFlag;
use super::progress::Progress;
use crate::checkpoint::ModelFolder;
use crate::device::Device;
use crate::diffusion::likelihood::{Flow, Tolerance};
use crate::diffusion::{Direction, Request, follow_flow};
use crate::error::{Error, Result};
use crate::kernels::random::{Purpose, normal_pair, picture_key};
use crate::nn::Forward;

/// As [`follow_with`], with a progress bar.
#[allow(clippy::too_many_arguments)]
pub(super) fn follow(
    model: &ModelFolder,
    flow: &Flow,
    device: &mut dyn Device,
    flag: &DeviceFlag,
    request: &Request,
    batch: usize,
    size: [usize; 2],
    along: (Direction, Tolerance),
) -> Result<Vec<f32>> {
    let mut progress = Progress::new("flow", 0, request.count);
    let tell = &mut |done, runs| progress.at(done, || format!("pictures, {runs} runs,"));
    let found = follow_with(model, flow, device, flag, request, batch.min(request.count), size, along, tell)?;
    progress.finish();
    Ok(found)
}

/// Follows the flow: from the request's initial noise, or what its seed says, to pictures, or from
/// pictures, in place of the noise, to noise. `tell` is told how many are done, and the runs of the network.
#[allow(clippy::too_many_arguments)]
pub(super) fn follow_with(
    model: &ModelFolder,
    flow: &Flow,
    device: &mut dyn Device,
    flag: &DeviceFlag,
    request: &Request,
    batch: usize,
    [height, width]: [usize; 2],
    (direction, tolerance): (Direction, Tolerance),
    tell: &mut dyn FnMut(usize, usize),
) -> Result<Vec<f32>> {
    let config = model.unet.config();
    let channels = config.in_channels;
    let elements = height * width * channels;
    let labels = request.labels_for(config)?;
    let states = match &request.initial_noise {
        Some(noise) => noise.clone(),
        None => (0..request.count).flat_map(|picture| noise(request, picture, elements)).collect(),
    };
    let forward = Forward::new(&model.unet, batch, [height, width])?;
    let mut network = flag.load(device, &forward, &model.weights, batch)?;
    let found = follow_flow(
        flow,
        &mut network,
        &states,
        [elements, channels],
        labels.as_deref(),
        (direction, tolerance),
        tell,
    )?;
    if found.pictures.iter().any(|value| !value.is_finite()) {
        return Err(Error::input("the network's pictures are not finite: NaN or infinity was drawn"));
    }
    Ok(found.pictures)
}

/// A picture's noise, the same as any sampler begins with.
pub(super) fn noise(request: &Request, picture: usize, elements: usize) -> Vec<f32> {
    let seed = [request.seed as u32, (request.seed >> 32) as u32];
    let number = request.first_picture.wrapping_add(picture as u32);
    let key = picture_key(seed, Purpose::InitialNoise, number);
    let pairs = (0..elements.div_ceil(2)).flat_map(|pair| normal_pair::<f32>(key, 0, pair as u32));
    pairs.take(elements).collect()
}
