//! Drawing pictures: a chain's stages on a device, each the network and one fused update.

use super::Chain;
use crate::device::{Choices, Device, PlanId};
use crate::error::{Error, Result};
use crate::kernels::dynamic_threshold::dynamic_threshold;
use crate::kernels::random::{Purpose, normal_noise};
use crate::kernels::sampler_step::{COLUMNS, Operands, sampler_step};
use crate::nn::{Network, Recompute, UNet};
use crate::plan::{Memory, Plan, Recorder, Step, Storage};

/// What is drawn.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Pictures.
    pub count: usize,
    /// Number of the first picture within the run: picture k of a seed is the same whatever is drawn with it.
    pub first_picture: u32,
    /// The run's seed.
    pub seed: u64,
    /// A class for every picture, for a conditional network.
    pub labels: Option<Vec<u32>>,
    /// Standard normal noise that every picture begins with, NHWC, instead of drawn noise: x_T is this times the
    /// scheduler's `init_noise_sigma`.
    pub initial_noise: Option<Vec<f32>>,
    /// The noise of every draw of the chain, a step's or several in a step, `[draws, count, H, W, C]`, for a sampler of [`StepNoise::Given`].
    pub step_noise: Option<Vec<f32>>,
}

/// Where the noise of a sampler's steps is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepNoise {
    /// Drawn where it is used, by the seed, the picture and the step.
    Drawn,
    /// The request's.
    Given,
}

/// Draws batches of pictures with a network's weights.
pub struct Sampler {
    batch: usize,
    shape: [usize; 4],
    chain: Chain,
    classes: Option<usize>,
    plans: Plans,
    x: Storage,
    timesteps: Storage,
    labels: Storage,
    table: Storage,
    step_noise: Option<Storage>,
    loaded: Option<Loaded>,
}

/// The recordings of a sampler.
struct Plans {
    noise: Plan,
    stage: Plan,
}

#[derive(Clone, Copy)]
struct Loaded {
    noise: PlanId,
    stage: PlanId,
}

impl Sampler {
    /// Records a sampler of `batch` pictures of `[height, width]` with the weights that `weights` holds.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if the network cannot draw pictures of this size, or not in this way.
    pub fn new(
        unet: &UNet,
        weights: &Storage,
        chain: Chain,
        batch: usize,
        [height, width]: [usize; 2],
        step_noise: StepNoise,
    ) -> Result<Self> {
        let config = unet.config();
        let channels = config.in_channels;
        chain.check_channels(config.in_channels, config.out_channels)?;
        let told: Vec<f32> = chain.stages().iter().map(|stage| stage.timestep as f32).collect();
        config.check_timesteps(&told, "the sampler")?;
        let shape = [batch, height, width, channels];
        let len = shape.iter().product();
        let x = Storage::f32("pictures", len);
        let (timesteps, labels) = (Storage::f32("timesteps", batch), Storage::u32("labels", batch));
        let table = Storage::f32("sampler's table", chain.stages().len() * COLUMNS);
        let given = (step_noise == StepNoise::Given).then(|| Storage::f32("noise", len));

        let mut r = Recorder::new();
        let noise = r.input(&x, &shape);
        normal_noise(&mut r, noise, Purpose::InitialNoise, chain.initial_deviation() as f32);
        let noise_plan = r.finish();

        let mut r = Recorder::new();
        let table_value = r.input(&table, &[chain.stages().len(), COLUMNS]);
        let x_value = r.input(&x, &shape);
        let t = r.input(&timesteps, &[batch]);
        let label_value = config.classes().map(|_| r.input(&labels, &[batch]));
        let mut net = Network {
            r: &mut r,
            parameters: unet.parameters(),
            weights,
            gradients: None,
            halves: None,
            recompute: Recompute::None,
        };
        let output = unet.record(&mut net, x_value, t, label_value)?;
        let thresholds = match chain.threshold() {
            Some(threshold) => Some(dynamic_threshold(&mut r, table_value, output, x_value, threshold)?),
            None => None,
        };
        let history = chain.kernel().history;
        let kept = (history > 0).then(|| r.input(&Storage::f32("kept", history * len), &[history, len]));
        let noise = given.as_ref().map(|given| r.input(given, &shape));
        let operands = Operands { table: table_value, output, thresholds, noise, kept, x: x_value };
        sampler_step(&mut r, chain.kernel(), operands)?;
        let plans = Plans { noise: noise_plan, stage: r.finish() };
        let classes = config.classes();
        Ok(Self { batch, shape, chain, classes, plans, x, timesteps, labels, table, step_noise: given, loaded: None })
    }

    /// What a stage needs.
    pub fn memory(&self) -> Memory {
        self.plans.stage.memory()
    }

    /// The recording of one stage: the network, then the update.
    pub fn plan(&self) -> &Plan {
        &self.plans.stage
    }

    /// How it goes from noise to pictures.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Channels of the pictures.
    pub fn channels(&self) -> usize {
        self.shape[3]
    }

    /// Pictures in a batch.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Measures which variants of its kernels are fastest; see [`Device::tune`].
    ///
    /// # Errors
    /// The device's.
    pub fn tune(&self, device: &mut dyn Device, watch: &mut dyn FnMut(usize, usize)) -> Result<Choices> {
        device.tune(&[&self.plans.stage], watch)
    }

    /// Allocates everything and uploads the chain's table.
    ///
    /// # Errors
    /// The device's.
    pub fn load(&mut self, device: &mut dyn Device) -> Result<()> {
        if self.loaded.is_none() {
            let stage = device.load(&self.plans.stage)?;
            let noise = device.load(&self.plans.noise)?;
            device.upload(&self.table, 0, &self.chain.table())?;
            self.loaded = Some(Loaded { noise, stage });
        }
        Ok(())
    }

    /// Draws `request.count` pictures: NHWC, in [-1, 1] as far as the network keeps to it. `watch` is called after every
    /// stage with (the batch's number, stages done in it, and a way to look at x_t, in the scale that the network takes).
    ///
    /// # Errors
    /// [`Input`](Error::Input) if the request does not fit the model; the device's; the sampler's if a picture is not
    /// finite.
    pub fn sample(
        &mut self,
        device: &mut dyn Device,
        request: &Request,
        mut watch: impl FnMut(usize, usize, &mut dyn FnMut() -> Result<Vec<f32>>) -> Result<()>,
    ) -> Result<Vec<f32>> {
        let labels = self.check_labels(request)?;
        let picture: usize = self.shape[1..].iter().product();
        let draws = self.chain.draws();
        let fits = |what: &str, given: &Option<Vec<f32>>, times: usize| {
            let Some(found) = given.as_ref().map(Vec::len) else { return Ok(()) };
            let expected = picture.checked_mul(request.count).and_then(|len| len.checked_mul(times));
            if expected == Some(found) {
                return Ok(());
            }
            let expected = expected.map_or("more than fit in memory".into(), |expected| expected.to_string());
            Err(Error::input(format!("the {what} has {found} numbers, expected {expected}")))
        };
        fits("initial noise", &request.initial_noise, 1)?;
        fits("steps' noise", &request.step_noise, draws)?;
        if request.step_noise.is_some() != self.step_noise.is_some() {
            return Err(Error::input("the steps' noise was given to a sampler that draws it, or the other way round"));
        }
        self.load(device)?;
        let Some(loaded) = self.loaded else { return Err(Error::Device("the sampler is not loaded".into())) };
        let mut pictures = Vec::new();
        let room = request.count.checked_mul(picture).and_then(|len| pictures.try_reserve_exact(len).ok());
        room.ok_or_else(|| Error::OutOfMemory(format!("{} pictures do not fit in memory", request.count)))?;
        for (number, first) in (0..request.count).step_by(self.batch).enumerate() {
            let wanted = self.batch.min(request.count - first);
            let first_picture = request.first_picture.wrapping_add(first as u32);
            let step = Step { first_picture, ..Step::seeded(request.seed) };
            match &request.initial_noise {
                Some(noise) => {
                    let deviation = self.chain.initial_deviation() as f32;
                    let noise = &noise[first * picture..][..wanted * picture];
                    let noise: Vec<f32> = noise.iter().map(|noise| noise * deviation).collect();
                    device.upload(&self.x, 0, &noise)?;
                }
                None => device.run(loaded.noise, &step)?,
            }
            if let Some(labels) = &labels {
                device.upload_integers(&self.labels, 0, &labels[first..first + wanted])?;
            }
            for (row, stage) in self.chain.stages().iter().enumerate() {
                device.upload(&self.timesteps, 0, &vec![stage.timestep as f32; self.batch])?;
                if let (Some(storage), Some(noise)) = (&self.step_noise, &request.step_noise) {
                    let noise = &noise[(stage.draw * request.count + first) * picture..][..wanted * picture];
                    device.upload(storage, 0, noise)?;
                }
                // In ancestral sampling on all timesteps, these are the numbers of the timesteps.
                let sampler_noise = (draws - 1 - stage.draw) as u32;
                device.run(loaded.stage, &Step { sampler_row: row as u32, sampler_noise, ..step })?;
                let mut look = || Ok(device.download(&self.x)?[..wanted * picture].to_vec());
                watch(number, row + 1, &mut look)?;
            }
            let drawn = &device.download(&self.x)?[..wanted * picture];
            if drawn.iter().any(|value| !value.is_finite()) {
                return Err(Error::input("the network's pictures are not finite: NaN or infinity was drawn"));
            }
            pictures.extend_from_slice(drawn);
        }
        Ok(pictures)
    }

    fn check_labels(&self, request: &Request) -> Result<Option<Vec<u32>>> {
        match (self.classes, &request.labels) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(Error::input("this model has no classes, but a class was asked for")),
            (Some(classes), None) => {
                let all: Vec<u32> =
                    (0..request.count as u32).map(|i| request.first_picture.wrapping_add(i) % classes as u32).collect();
                Ok(Some(all))
            }
            (Some(classes), Some(labels)) => {
                if let Some(label) = labels.iter().find(|&&label| label as usize >= classes) {
                    return Err(Error::input(format!("class {label}, expected 0 to {}", classes - 1)));
                }
                if labels.len() != request.count {
                    let (found, expected) = (labels.len(), request.count);
                    return Err(Error::input(format!("{found} classes for {expected} pictures")));
                }
                Ok(Some(labels.clone()))
            }
        }
    }
}
