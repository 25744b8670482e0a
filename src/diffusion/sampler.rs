//! Ancestral sampling: algorithm 2 of Ho et al. 2020, on all timesteps or a subsequence.

use super::SchedulerConfig;
use crate::device::{Choices, Device, PlanId};
use crate::error::{Error, Result};
use crate::kernels::random::{Purpose, normal_noise};
use crate::kernels::reverse_step::reverse_step;
use crate::kernels::schedule_tables::{TABLES, schedule_tables};
use crate::nn::{Network, Recompute, UNet};
use crate::plan::{Memory, Plan, Recorder, Step, Storage};

/// What is drawn.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Pictures.
    pub count: usize,
    /// Number of the first picture within the run: picture k of a seed is the same whatever is drawn with it.
    pub first_picture: u32,
    /// Sampling steps.
    pub steps: usize,
    /// The run's seed.
    pub seed: u64,
    /// A class for every picture, for a conditional network.
    pub labels: Option<Vec<u32>>,
    /// x_T of every picture, NHWC, instead of drawn noise.
    pub initial_noise: Option<Vec<f32>>,
}

/// Draws batches of pictures with a network's weights.
pub struct Sampler {
    batch: usize,
    shape: [usize; 4],
    scheduler: SchedulerConfig,
    classes: Option<usize>,
    out_channels: usize,
    plans: Plans,
    x: Storage,
    timesteps: Storage,
    labels: Storage,
    loaded: Option<Loaded>,
}

/// The recordings of a sampler.
struct Plans {
    tables: Plan,
    noise: Plan,
    step: Plan,
}

#[derive(Clone, Copy)]
struct Loaded {
    noise: PlanId,
    step: PlanId,
}

impl Sampler {
    /// Records a sampler of `batch` pictures of `[height, width]` with the weights that `weights` holds.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if the network cannot draw pictures of this size.
    pub fn new(
        unet: &UNet,
        weights: &Storage,
        scheduler: &SchedulerConfig,
        batch: usize,
        [height, width]: [usize; 2],
    ) -> Result<Self> {
        let config = unet.config();
        if config.in_channels != config.out_channels {
            return Err(Error::input(format!(
                "the network has {} input and {} output channels, expected as many of each",
                config.in_channels, config.out_channels
            )));
        }
        config.check_timesteps(&[scheduler.num_train_timesteps as f32 - 1.0], "num_train_timesteps")?;
        let shape = [batch, height, width, config.in_channels];
        let len = shape.iter().product();
        let x = Storage::f32("pictures", len);
        let (timesteps, labels) = (Storage::f32("timesteps", batch), Storage::u32("labels", batch));

        let mut r = Recorder::new();
        let tables = schedule_tables(&mut r, scheduler.tables());
        let table_storage = r.export("schedule tables", tables);
        let tables_plan = r.finish();

        let mut r = Recorder::new();
        let noise = r.input(&x, &shape);
        normal_noise(&mut r, noise, Purpose::InitialNoise);
        let noise_plan = r.finish();

        let mut r = Recorder::new();
        let tables = r.input(&table_storage, &[TABLES, scheduler.num_train_timesteps]);
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
        reverse_step(&mut r, tables, output, None, x_value, scheduler.reverse_process())?;
        let plans = Plans { tables: tables_plan, noise: noise_plan, step: r.finish() };
        Ok(Self {
            batch,
            shape,
            scheduler: scheduler.clone(),
            classes: config.classes(),
            out_channels: config.out_channels,
            plans,
            x,
            timesteps,
            labels,
            loaded: None,
        })
    }

    /// What a step needs.
    pub fn memory(&self) -> Memory {
        self.plans.step.memory()
    }

    /// The recording of one step: the network, then the reverse step.
    pub fn plan(&self) -> &Plan {
        &self.plans.step
    }

    /// The recording of the schedule's tables, which the steps read.
    pub fn tables(&self) -> &Plan {
        &self.plans.tables
    }

    /// Channels of the pictures.
    pub fn channels(&self) -> usize {
        self.out_channels
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
        device.tune(&[&self.plans.step], watch)
    }

    /// Allocates everything and computes the schedule's tables.
    ///
    /// # Errors
    /// The device's.
    pub fn load(&mut self, device: &mut dyn Device) -> Result<()> {
        if self.loaded.is_none() {
            let step = device.load(&self.plans.step)?;
            let noise = device.load(&self.plans.noise)?;
            let tables = device.load(&self.plans.tables)?;
            device.run(tables, &Step::default())?;
            device.unload(tables);
            self.loaded = Some(Loaded { noise, step });
        }
        Ok(())
    }

    /// Draws `request.count` pictures: NHWC, in [-1, 1] as far as the network keeps to it. `watch` is called after every
    /// step with (the batch's number, steps done in it, and a way to look at x_t).
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
        let timesteps = self.scheduler.leading_timesteps(request.steps)?;
        let labels = self.check_labels(request)?;
        let picture: usize = self.shape[1..].iter().product();
        if let Some(noise) = &request.initial_noise
            && noise.len() != request.count * picture
        {
            let (found, expected) = (noise.len(), request.count * picture);
            return Err(Error::input(format!("the initial noise has {found} numbers, expected {expected}")));
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
                Some(noise) => device.upload(&self.x, 0, &noise[first * picture..][..wanted * picture])?,
                None => device.run(loaded.noise, &step)?,
            }
            if let Some(labels) = &labels {
                device.upload_integers(&self.labels, 0, &labels[first..first + wanted])?;
            }
            for (done, &(timestep, previous_timestep)) in timesteps.iter().enumerate() {
                device.upload(&self.timesteps, 0, &vec![timestep as f32; self.batch])?;
                let add_noise = u32::from(timestep > 0);
                device.run(loaded.step, &Step { timestep, previous_timestep, add_noise, ..step })?;
                let mut look = || Ok(device.download(&self.x)?[..wanted * picture].to_vec());
                watch(number, done + 1, &mut look)?;
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
                    (0..request.count as u32).map(|i| (request.first_picture + i) % classes as u32).collect();
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
