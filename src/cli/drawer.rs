//! A sampler on a device, or the flow, that draws a request.

use super::device::DeviceFlag;
use super::flow;
use super::output::note;
use super::progress::Progress;
use super::sampling::Way;
use crate::checkpoint::{ClassifierFolder, ModelFolder};
use crate::device::Device;
use crate::diffusion::likelihood::{Flow, Tolerance};
use crate::diffusion::{Aim, Chain, Direction, Guide, Look, Passes, Request, Sampler, SamplerOptions, StepNoise};
use crate::error::{Error, Result};
use crate::kernels::known_part::Projection;
use crate::nn::Forward;
use crate::plan::Storage;

/// Pictures in a batch where nothing is said.
pub(super) const BATCH: usize = 64;
/// Batches of the flow that are drawn together: where a picture is at its end, another one takes its place.
const TOGETHER: usize = 4;

/// What pictures are drawn with.
#[derive(Clone, Copy)]
pub(super) struct Kit<'a> {
    pub(super) model: &'a ModelFolder,
    /// One that guides.
    pub(super) classifier: Option<&'a ClassifierFolder>,
    /// What is known of the pictures.
    pub(super) projection: Option<Projection>,
    /// Whether somebody looks at the predicted x_0.
    pub(super) predictions: bool,
    pub(super) flag: &'a DeviceFlag,
    /// Height and width.
    pub(super) size: [usize; 2],
}

/// How many pictures are in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BatchSize {
    /// So many.
    Given(usize),
    /// So many, or the largest halving that fits in the device's memory.
    Fitting(usize),
}

impl BatchSize {
    /// What is tried, the largest first.
    fn candidates(self) -> Vec<usize> {
        match self {
            Self::Given(batch) => vec![batch],
            Self::Fitting(batch) => std::iter::once(batch).chain(halves(batch)).collect(),
        }
    }
}

fn halves(batch: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(batch / 2), |batch| Some(batch / 2)).take_while(|&batch| batch > 0)
}

/// What draws.
pub(super) enum Drawer<'a> {
    /// By a chain's stages.
    Stages(Box<Sampler>),
    /// Along the flow, so many pictures at a time.
    Flow(&'a Flow, Tolerance, usize),
}

impl<'a> Drawer<'a> {
    /// Pictures that are drawn together, for batches of so many.
    pub(super) fn together(way: &Way, batch: usize) -> usize {
        match way {
            Way::Chain(_) => batch,
            Way::Flow(..) => TOGETHER * batch,
        }
    }

    /// Loads what draws requests that have what this one has.
    pub(super) fn load(
        kit: Kit,
        way: &'a Way,
        device: &mut dyn Device,
        request: &Request,
        size: BatchSize,
    ) -> Result<Self> {
        match way {
            Way::Chain(chain) => {
                load_sampler(kit, chain, device, request, size).map(|sampler| Self::Stages(Box::new(sampler)))
            }
            Way::Flow(flow, tolerance) => {
                if kit.projection.is_some() || request.step_noise.is_some() {
                    return Err(Error::input(
                        "rk45 takes steps of its own for every picture, after which nothing known is put in and no noise is \
                         drawn; expected another --sampler with --inpaint, --colorize, --upscale or --step-noise",
                    ));
                }
                let mut candidates = size.candidates();
                let last = candidates.pop().unwrap_or(1);
                let mut batch = last;
                for candidate in candidates {
                    let forward = Forward::new(&kit.model.unet, candidate, kit.size)?;
                    if device.has_room(&forward.plan, 0) {
                        batch = candidate;
                        break;
                    }
                }
                Ok(Self::Flow(flow, *tolerance, batch))
            }
        }
    }

    /// Pictures in a batch.
    pub(super) fn batch(&self) -> usize {
        match self {
            Self::Stages(sampler) => sampler.batch(),
            Self::Flow(_, _, batch) => *batch,
        }
    }

    /// Steps of the progress bar for so many pictures together, and what they are.
    pub(super) fn work(&self, pictures: usize) -> (usize, &'static str) {
        match self {
            Self::Stages(sampler) => (sampler.chain().stages().len(), "steps,"),
            Self::Flow(..) => (pictures, "pictures,"),
        }
    }

    /// Draws pictures that fit together. `watch` sees them as a chain's stages go, `tell` is told of the work that is done.
    pub(super) fn draw(
        &mut self,
        kit: Kit,
        device: &mut dyn Device,
        request: &Request,
        watch: &mut dyn FnMut(usize, &mut Look) -> Result<()>,
        tell: &mut dyn FnMut(usize),
    ) -> Result<Vec<f32>> {
        match self {
            Self::Stages(sampler) => sampler.sample(device, request, |_, done, look| {
                tell(done);
                watch(done, look)
            }),
            Self::Flow(flow, tolerance, batch) => {
                let to_pictures = (Direction::ToPictures, *tolerance);
                let tell = &mut |done, _| tell(done);
                flow::follow_with(kit.model, flow, device, kit.flag, request, *batch, kit.size, to_pictures, tell)
            }
        }
    }
}

/// Draws all of a request with a progress bar.
pub(super) fn draw(
    model: &ModelFolder,
    chain: Chain,
    device: &mut dyn Device,
    flag: &DeviceFlag,
    request: &Request,
    batch: usize,
    size: [usize; 2],
) -> Result<Vec<f32>> {
    let kit = Kit { model, classifier: None, projection: None, predictions: false, flag, size };
    let batch = batch.min(request.count);
    let stages = chain.stages().len();
    let mut sampler = load_sampler(kit, &chain, device, request, BatchSize::Given(batch))?;
    let mut progress = Progress::new("drawing", 0, request.count.div_ceil(batch) * stages);
    let drawn = sampler.sample(device, request, |number, done, _| {
        progress.at(number * stages + done, || "steps,".into());
        Ok(())
    })?;
    progress.finish();
    Ok(drawn)
}

/// Records a sampler, measures its kernels and loads it with the weights.
fn load_sampler(
    Kit { model, classifier, projection, predictions, flag, size }: Kit,
    chain: &Chain,
    device: &mut dyn Device,
    request: &Request,
    batch: BatchSize,
) -> Result<Sampler> {
    let weights = Storage::f32("weights", model.weights.len());
    let step_noise = if request.step_noise.is_some() { StepNoise::Given } else { StepNoise::Drawn };
    let by_classes = matches!(request.aim, Some(Aim::Classes(_)));
    let pulls = classifier.filter(|_| chain.guidance().classifier_scale > 0.0);
    let of_guide = pulls.map(|folder| (folder, Storage::f32("classifier's weights", folder.weights.len())));
    let guide =
        of_guide.as_ref().map(|(folder, weights)| Guide { classifier: &folder.classifier, weights, by_classes });
    let options = SamplerOptions { step_noise, guide: guide.as_ref(), projection, predictions };
    let record = |batch: usize| Sampler::with(&model.unet, &weights, chain.clone(), batch, size, options);
    let both = chain.stages().iter().any(|stage| stage.passes() == Passes::Both);
    let each = if both { ", each with and without its class" } else { "" };
    let candidates = batch.candidates();
    for (number, &batch) in candidates.iter().enumerate() {
        let is_last = number + 1 == candidates.len();
        let mut sampler = record(batch)?;
        if !is_last && !sampler.would_fit(device) {
            continue;
        }
        let planned = sampler.memory().total() as f64 / 1e6;
        note!("memory       {planned:.1} MB planned for {batch} pictures at a time{each}");
        let tuned = flag.tune(device, |device, watch| sampler.tune(device, watch));
        match tuned.and_then(|()| sampler.load(device)) {
            Ok(()) => {
                device.upload(&weights, 0, &model.weights)?;
                if let Some((folder, weights)) = &of_guide {
                    device.upload(weights, 0, &folder.weights)?;
                }
                return Ok(sampler);
            }
            Err(Error::OutOfMemory(_)) if !is_last => {}
            Err(Error::OutOfMemory(why)) => {
                let fits = |batch: &usize| record(*batch).is_ok_and(|smaller| smaller.would_fit(device));
                let advice = match halves(batch).find(fits) {
                    Some(fitting) => format!("--batch {fitting} would fit"),
                    None => "not even --batch 1 would fit".into(),
                };
                return Err(Error::OutOfMemory(format!("batch {batch}{each}: {why}; {advice}")));
            }
            Err(error) => return Err(error),
        }
    }
    Err(Error::input("no pictures in a batch, expected at least one"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_halved_until_they_fit() {
        assert_eq!(BatchSize::Fitting(64).candidates(), [64, 32, 16, 8, 4, 2, 1]);
        assert_eq!(BatchSize::Fitting(10).candidates(), [10, 5, 2, 1]);
        assert_eq!(BatchSize::Given(10).candidates(), [10]);
    }
}
