//! Drawing pictures: a chain's stages on a device, each the network and one fused update.

use super::classifier_guidance::Pull;
use super::known::KnownPart;
use super::{Aim, Chain, Guide, Known, Look, Passes};
use crate::device::{Choices, Device, PlanId};
use crate::error::{Error, Result};
use crate::kernels::dynamic_threshold::dynamic_threshold;
use crate::kernels::guidance_rescale::guidance_rescale;
use crate::kernels::known_part::Projection;
use crate::kernels::predicted_x0::predicted_x0;
use crate::kernels::random::{Purpose, normal_noise};
use crate::kernels::repeat::repeat;
use crate::kernels::sampler_step::{COLUMNS, Clipping, Deviation, Operands, SamplerStep, sampler_step};
use crate::nn::{Network, Recompute, UNet, UNetConfig};
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
    /// A class for every picture, for a conditional network; all in turn if not given, but the one that stands for none.
    pub labels: Option<Vec<u32>>,
    /// Standard normal noise that every picture begins with, NHWC, instead of drawn noise: x_T is this times the
    /// scheduler's `init_noise_sigma`.
    pub initial_noise: Option<Vec<f32>>,
    /// The noise of every draw of the chain, a step's or several in a step, `[draws, count, H, W, C]`, for a sampler of [`StepNoise::Given`].
    pub step_noise: Option<Vec<f32>>,
    /// What a classifier that guides draws pictures towards.
    pub aim: Option<Aim>,
    /// Pictures, NHWC in [-1, 1], that the chain begins with, with the noise of the level where it does; from noise alone if
    /// not given. For chains of a [`strength`](super::ChainOptions::strength).
    pub begin: Option<Vec<f32>>,
    /// What is known of the pictures, for a sampler that has a [projection](SamplerOptions::projection) to it.
    pub known: Option<Known>,
}

impl Request {
    /// The class of every picture: its own, or all classes in turn.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if the labels do not fit the network.
    pub fn labels_for(&self, network: &UNetConfig) -> Result<Option<Vec<u32>>> {
        match (network.classes().zip(network.real_classes()), &self.labels) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(Error::input("this model has no classes, but a class was asked for")),
            (Some((_, real)), None) => {
                let number = |i: u32| self.first_picture.wrapping_add(i) as usize % real;
                Ok(Some((0..self.count as u32).map(|i| network.real_class(number(i)) as u32).collect()))
            }
            (Some((classes, _)), Some(labels)) => {
                if let Some(label) = labels.iter().find(|&&label| label as usize >= classes) {
                    return Err(Error::input(format!("class {label}, expected 0 to {}", classes - 1)));
                }
                if labels.len() != self.count {
                    let (found, expected) = (labels.len(), self.count);
                    return Err(Error::input(format!("{found} classes for {expected} pictures")));
                }
                Ok(Some(labels.clone()))
            }
        }
    }
}

/// Where the noise of a sampler's steps is from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StepNoise {
    /// Drawn where it is used, by the seed, the picture and the step.
    #[default]
    Drawn,
    /// The request's.
    Given,
}

/// What a sampler may have beside a network and a chain.
#[derive(Clone, Copy, Default)]
pub struct SamplerOptions<'a> {
    /// Where the noise of its steps is from.
    pub step_noise: StepNoise,
    /// A classifier of the model's noise that guides it.
    pub guide: Option<&'a Guide<'a>>,
    /// What is known of the pictures.
    pub projection: Option<Projection>,
    /// Keeps the predicted x_0 of every stage for a [`Look`].
    pub predictions: bool,
}

/// Draws batches of pictures with a network's weights.
pub struct Sampler {
    batch: usize,
    shape: [usize; 4],
    chain: Chain,
    network: UNetConfig,
    plans: Plans,
    x: Storage,
    told: Told,
    table: Storage,
    step_noise: Option<Storage>,
    predicted: Option<Storage>,
    pull: Option<Pull>,
    known: Option<KnownPart>,
    loaded: Option<Loaded>,
}

/// What the network is told of each of its pictures, which are twice the batch where guidance takes both passes as one.
struct Told {
    timesteps: Storage,
    labels: Storage,
}

/// The recordings of a sampler.
struct Plans {
    noise: Plan,
    /// A stage of one pass of the network.
    single: Option<Plan>,
    /// A stage of both.
    both: Option<Plan>,
    /// A stage of none.
    none: Option<Plan>,
}

#[derive(Clone, Copy)]
struct Loaded {
    noise: PlanId,
    single: Option<PlanId>,
    both: Option<PlanId>,
    none: Option<PlanId>,
    known: Option<PlanId>,
}

/// What the recordings of stages share.
struct Shared<'a> {
    unet: &'a UNet,
    weights: &'a Storage,
    chain: &'a Chain,
    shape: [usize; 4],
    x: &'a Storage,
    told: &'a Told,
    table: &'a Storage,
    kept: Storage,
    given: Option<&'a Storage>,
    predicted: Option<&'a Storage>,
    guide: Option<(&'a Guide<'a>, &'a Pull)>,
}

impl Shared<'_> {
    /// A stage: the network, once or twice on each picture, then the update.
    fn record(&self, passes: usize) -> Result<Plan> {
        let Self { unet, chain, shape, .. } = *self;
        let mut r = Recorder::new();
        let table = r.input(self.table, &[chain.stages().len(), COLUMNS]);
        let x = r.input(self.x, &shape);
        let pictures = passes * shape[0];
        let t = r.bind(&self.told.timesteps, 0, &[pictures]);
        let labels = unet.config().classes().map(|_| r.bind(&self.told.labels, 0, &[pictures]));
        let asked = if passes == 1 { x } else { repeat(&mut r, x, passes)? };
        let mut net = Network {
            r: &mut r,
            parameters: unet.parameters(),
            weights: self.weights,
            gradients: None,
            halves: None,
            recompute: Recompute::None,
        };
        let output = unet.record(&mut net, asked, t, labels)?;
        let gradient = match self.guide {
            Some((guide, pull)) => {
                // A value of its own, as the network's x wants no gradient.
                let values = [r.input(self.x, &shape), r.bind(&self.told.timesteps, 0, &[shape[0]])];
                Some(pull.record(&mut r, guide, values)?)
            }
            None => None,
        };
        let rescale = chain.guidance().rescale as f32;
        let factors = match passes == 2 && rescale > 0.0 {
            true => Some(guidance_rescale(&mut r, table, output, x, rescale)?),
            false => None,
        };
        let thresholds = match chain.threshold() {
            Some(threshold) => Some(dynamic_threshold(&mut r, table, output, [factors, gradient], x, threshold)?),
            None => None,
        };
        if let Some(predicted) = self.predicted {
            let predicted = r.input(predicted, &shape);
            let beside = [factors, thresholds, gradient];
            predicted_x0(&mut r, chain.kernel().clipping, [table, output, x], beside, predicted)?;
        }
        let history = chain.kernel().history;
        let kept = (history > 0).then(|| r.input(&self.kept, &[history, self.x.len()]));
        let noise = self.given.map(|given| r.input(given, &shape));
        sampler_step(
            &mut r,
            chain.kernel(),
            Operands { table, output: Some(output), factors, gradient, thresholds, noise, kept, x },
        )?;
        Ok(r.finish())
    }

    /// A stage without the network.
    fn record_none(&self) -> Result<Plan> {
        let mut r = Recorder::new();
        let table = r.input(self.table, &[self.chain.stages().len(), COLUMNS]);
        let x = r.input(self.x, &self.shape);
        let noise = self.given.map(|given| r.input(given, &self.shape));
        let plain = SamplerStep { clipping: Clipping::None, deviation: Deviation::Fixed, history: 0 };
        let none =
            Operands { table, output: None, factors: None, gradient: None, thresholds: None, noise, kept: None, x };
        sampler_step(&mut r, plain, none)?;
        Ok(r.finish())
    }
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
        size: [usize; 2],
        step_noise: StepNoise,
    ) -> Result<Self> {
        Self::with(unet, weights, chain, batch, size, SamplerOptions { step_noise, ..SamplerOptions::default() })
    }

    /// As [`new`](Self::new), with what the options say.
    ///
    /// # Errors
    /// As [`new`](Self::new); if the classifier is for other pictures, or not there where the chain counts on it, or what is
    /// known cannot be of such pictures.
    pub fn with(
        unet: &UNet,
        weights: &Storage,
        chain: Chain,
        batch: usize,
        [height, width]: [usize; 2],
        options: SamplerOptions,
    ) -> Result<Self> {
        let config = unet.config();
        let scale = chain.guidance().classifier_scale;
        let SamplerOptions { step_noise, guide, projection, predictions } = options;
        if scale > 0.0 && guide.is_none() {
            return Err(Error::input(format!("classifier scale is {scale}, but there is no classifier")));
        }
        let guide = guide.filter(|_| scale > 0.0);
        if let Some(Guide { classifier, .. }) = guide {
            classifier.check(height, width, config.in_channels)?;
        }
        chain.check_channels(config.in_channels, config.out_channels)?;
        chain.guidance().check_network(config)?;
        let timesteps: Vec<f32> = chain.stages().iter().map(|stage| stage.timestep as f32).collect();
        config.check_timesteps(&timesteps, "the sampler")?;
        let shape = [batch, height, width, config.in_channels];
        let len = shape.iter().product();
        let takes = |wanted: &[Passes]| chain.stages().iter().any(|stage| wanted.contains(&stage.passes()));
        let (single, both) = (takes(&[Passes::Conditional, Passes::Unconditional]), takes(&[Passes::Both]));
        let told = if both { 2 * batch } else { batch };
        let told = Told { timesteps: Storage::f32("timesteps", told), labels: Storage::u32("labels", told) };
        let x = Storage::f32("pictures", len);
        let table = Storage::f32("sampler's table", chain.stages().len() * COLUMNS);
        let given = (step_noise == StepNoise::Given).then(|| Storage::f32("noise", len));
        let predicted = predictions.then(|| Storage::f32("predicted pictures", len));

        let mut r = Recorder::new();
        let noise = r.input(&x, &shape);
        normal_noise(&mut r, noise, Purpose::InitialNoise, chain.initial_deviation() as f32);
        let noise = r.finish();
        let pull = guide.map(|guide| Pull::new(guide, batch));
        let kept = Storage::f32("kept", chain.kernel().history * len);
        let shared = Shared {
            unet,
            weights,
            chain: &chain,
            shape,
            x: &x,
            told: &told,
            table: &table,
            kept,
            given: given.as_ref(),
            predicted: predicted.as_ref(),
            guide: guide.zip(pull.as_ref()),
        };
        let record = |wanted: bool, passes: usize| wanted.then(|| shared.record(passes)).transpose();
        let none = takes(&[Passes::None]).then(|| shared.record_none()).transpose()?;
        let plans = Plans { noise, single: record(single, 1)?, both: record(both, 2)?, none };
        let known = projection.map(|projection| KnownPart::new(projection, &chain, &x, shape)).transpose()?;
        let network = config.clone();
        Ok(Self {
            batch,
            shape,
            chain,
            network,
            plans,
            x,
            told,
            table,
            step_noise: given,
            predicted,
            pull,
            known,
            loaded: None,
        })
    }

    /// What its stages need.
    pub fn memory(&self) -> Memory {
        let mut memory = self.plan().memory();
        if let (Some(single), Some(_)) = (&self.plans.single, &self.plans.both) {
            memory.activations += single.memory().activations;
        }
        memory
    }

    /// The recording of a stage, the larger one if there are two: the network, then the update.
    pub fn plan(&self) -> &Plan {
        // A chain has stages; of none, nothing is recorded but the noise.
        self.plans().last().unwrap_or(&self.plans.noise)
    }

    /// The recordings of its stages: with one pass of the network, and with two for guidance.
    pub fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.plans.single.iter().chain(&self.plans.both)
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
        device.tune(&self.plans().collect::<Vec<_>>(), watch)
    }

    /// Allocates everything and uploads the chain's table.
    ///
    /// # Errors
    /// The device's; no plan stays loaded then.
    pub fn load(&mut self, device: &mut dyn Device) -> Result<()> {
        if self.loaded.is_some() {
            return Ok(());
        }
        let mut loaded = Vec::new();
        let mut load = |device: &mut dyn Device, plan: &Plan| {
            let id = device.load(plan)?;
            loaded.push(id);
            Ok(id)
        };
        let mut load_all = || {
            let mut load_any = |plan: &Option<Plan>| plan.as_ref().map(|plan| load(device, plan)).transpose();
            let Plans { single, both, none, .. } = &self.plans;
            let [single, both, none] = [load_any(single)?, load_any(both)?, load_any(none)?];
            let known = self.known.as_ref().map(|known| load(device, &known.plan)).transpose()?;
            Ok(Loaded { noise: load(device, &self.plans.noise)?, single, both, none, known })
        };
        match load_all() {
            Ok(all) => self.loaded = Some(all),
            Err(error) => {
                loaded.into_iter().for_each(|id| device.unload(id));
                return Err(error);
            }
        }
        if let Some(known) = &self.known {
            known.upload_levels(device)?;
        }
        device.upload(&self.table, 0, &self.chain.table())
    }

    /// Whether the device has room for it, beside what it holds.
    pub fn would_fit(&self, device: &mut dyn Device) -> bool {
        let plan = self.plan();
        device.has_room(plan, self.memory().total() - plan.memory().total())
    }

    /// Draws `request.count` pictures: NHWC, in [-1, 1] as far as the network keeps to it. `watch` is called before
    /// the first stage of a batch and after every one, with (the batch's number, stages done in it, a look at the pictures).
    /// Of more pictures than fit in memory, [`Request::part`] makes requests of a batch each.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if the request does not fit the model; the device's; the sampler's if a picture is not
    /// finite.
    pub fn sample(
        &mut self,
        device: &mut dyn Device,
        request: &Request,
        mut watch: impl FnMut(usize, usize, &mut Look) -> Result<()>,
    ) -> Result<Vec<f32>> {
        let labels = request.labels_for(&self.network)?;
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
        fits("pictures to begin with", &request.begin, 1)?;
        if request.begin.is_some() != self.chain.begins_with_pictures() {
            return Err(Error::input("pictures to begin with and a strength are expected together, or neither"));
        }
        if request.step_noise.is_some() != self.step_noise.is_some() {
            return Err(Error::input("the steps' noise was given to a sampler that draws it, or the other way round"));
        }
        if let Some(pull) = &self.pull {
            pull.check(request.aim.as_ref(), request.count)?;
        }
        if let Some(known) = &self.known {
            known.check(request.known.as_ref(), request.count)?;
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
            if let Some(pictures) = &request.begin {
                self.begin(device, &pictures[first * picture..][..wanted * picture])?;
            }
            if let (Some(pull), Some(aim)) = (&self.pull, &request.aim) {
                pull.upload(device, aim, first, wanted)?;
            }
            if let (Some(part), Some(known)) = (&self.known, &request.known) {
                part.upload(device, known, first, wanted)?;
            }
            let (x, predicted, len) = (&self.x, self.predicted.as_ref(), wanted * picture);
            watch(number, 0, &mut Look { device, x, predicted, len })?;
            for (row, stage) in self.chain.stages().iter().enumerate() {
                device.upload(&self.told.timesteps, 0, &vec![stage.timestep as f32; self.told.timesteps.len()])?;
                if let Some(labels) = &labels {
                    self.tell_classes(device, stage.passes(), &labels[first..first + wanted])?;
                }
                let plan = match stage.passes() {
                    Passes::None => loaded.none,
                    Passes::Both => loaded.both,
                    Passes::Conditional | Passes::Unconditional => loaded.single,
                };
                let plan = plan.ok_or_else(|| Error::Device("a stage that was not recorded".into()))?;
                if let (Some(storage), Some(noise)) = (&self.step_noise, &request.step_noise) {
                    let noise = &noise[(stage.draw * request.count + first) * picture..][..wanted * picture];
                    device.upload(storage, 0, noise)?;
                }
                // In ancestral sampling on all timesteps, these are the numbers of the timesteps.
                let sampler_noise = (draws - 1 - stage.draw) as u32;
                let step = Step { sampler_row: row as u32, sampler_noise, ..step };
                device.run(plan, &step)?;
                if let (Some(part), Some(known)) = (&self.known, loaded.known)
                    && part.follows(row)
                {
                    device.run(known, &step)?;
                }
                watch(number, row + 1, &mut Look { device, x, predicted, len })?;
            }
            let drawn = &device.download(&self.x)?[..wanted * picture];
            if drawn.iter().any(|value| !value.is_finite()) {
                return Err(Error::input("the network's pictures are not finite: NaN or infinity was drawn"));
            }
            pictures.extend_from_slice(drawn);
        }
        Ok(pictures)
    }

    /// Puts these pictures, with the noise of the chain's first level, in the place of x_T, which is noise alone.
    fn begin(&self, device: &mut dyn Device, pictures: &[f32]) -> Result<()> {
        let Some(&[signal, noise]) = self.chain.stages().first().map(|stage| &stage.level) else { return Ok(()) };
        let share = (noise / self.chain.initial_deviation()) as f32;
        let mut x = device.download(&self.x)?;
        for (x, picture) in x.iter_mut().zip(pictures) {
            *x = signal as f32 * picture + share * *x;
        }
        device.upload(&self.x, 0, &x[..pictures.len()])
    }

    /// Uploads a batch's classes as a stage takes them.
    fn tell_classes(&self, device: &mut dyn Device, passes: Passes, labels: &[u32]) -> Result<()> {
        if !matches!(passes, Passes::Unconditional | Passes::None) {
            device.upload_integers(&self.told.labels, 0, labels)?;
        }
        let none = vec![self.network.unconditional_class.unwrap_or(0) as u32; self.batch];
        match passes {
            Passes::Conditional | Passes::None => Ok(()),
            Passes::Unconditional => device.upload_integers(&self.told.labels, 0, &none),
            Passes::Both => device.upload_integers(&self.told.labels, self.batch, &none),
        }
    }
}
