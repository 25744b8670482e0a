//! `aquatint eval --bpd` and `--ode`: likelihoods in bits per dimension.

use super::bound_table::{say_bound, say_line, stretches_of_terms};
use super::device::DeviceFlag;
use super::eval::Shared;
use super::model::read_model;
use super::output::{check_png, note, say};
use super::progress::Progress;
use crate::atomic_file;
use crate::checkpoint::ModelFolder;
use crate::data::{Dataset, Options};
use crate::device::Device;
use crate::diffusion::likelihood::{
    Bound, BoundOptions, Decoder, DeviceNetwork, Flow, LevelPictures, OdeLikelihood, OdeOptions, ReverseProcess,
    Tolerance, bound, ode_likelihood,
};
use crate::diffusion::{SchedulerClass, SchedulerConfig, VarianceType};
use crate::error::{Error, Result};
use crate::nn::{ClassEmbedType, Forward, SampleSize, UNetConfig};
use crate::pictures::bound_plot;
use crate::training::Order;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What is asked of the likelihood.
#[derive(clap::Args)]
#[command(next_help_heading = "Likelihood")]
pub(super) struct LikelihoodFlags {
    /// The variational bound, in bits per dimension
    #[arg(long, requires = "data", conflicts_with = "real")]
    bpd: bool,
    /// The likelihood by the probability-flow ODE, in bits per dimension
    #[arg(long, requires = "data", conflicts_with = "real")]
    ode: bool,
    /// Pictures that the model has not seen: digits, IDX files or a folder, as `train` takes them
    #[arg(long, value_name = "DATA", conflicts_with = "real")]
    data: Option<String>,
    /// Pictures to take, drawn from the data by the seed; all if not given
    #[arg(long, value_name = "N", requires = "data")]
    pictures: Option<usize>,
    /// Runs of the network for each picture of the bound, at timesteps drawn from as many stretches, at least 2; all
    /// timesteps if not given
    #[arg(long, value_name = "K", requires = "bpd")]
    timesteps: Option<usize>,
    /// How L_0 is worked out: with the normal distribution, or with its tanh approximation as in the published codes
    #[arg(long, value_enum, default_value = "safe", requires = "bpd")]
    decoder: Decoder,
    /// Relative tolerance of the ODE's steps
    #[arg(long, default_value_t = 1e-5, value_name = "RTOL", requires = "ode")]
    rtol: f64,
    /// Absolute tolerance of the ODE's steps
    #[arg(long, default_value_t = 1e-5, value_name = "ATOL", requires = "ode")]
    atol: f64,
    /// Writes everything as one JSON object; `-` is standard output, in place of the table
    #[arg(long, value_name = "FILE", requires = "data")]
    json: Option<PathBuf>,
    /// Draws the bound's terms over t to a PNG
    #[arg(long, value_name = "PNG", requires = "bpd")]
    plot: Option<PathBuf>,
}

/// What was measured.
struct Measured {
    bound: Option<Bound>,
    ode: Option<OdeLikelihood>,
}

impl LikelihoodFlags {
    pub(super) fn asked(&self) -> bool {
        self.bpd || self.ode
    }

    pub(super) fn run(&self, path: &Path, shared: &Shared, flag: &DeviceFlag) -> Result<ExitCode> {
        let Some(data) = &self.data else {
            return Err(Error::input("--data is missing: digits, IDX files or a folder"));
        };
        let source = path.display().to_string();
        let numbers = self.json.as_deref().filter(|path| *path != Path::new("-"));
        numbers.map_or(Ok(()), atomic_file::check)?;
        if self.plot.is_some() && self.plot.as_deref() == numbers {
            return Err(Error::input("--json and --plot name one file, expected two"));
        }
        self.plot.as_deref().map_or(Ok(()), check_png)?;
        let model = read_model(path)?;
        let config = model.unet.config();
        let scheduler = &model.scheduler;
        let named = |error: Error| Error::input(format!("{source}: {error}"));
        let process = ReverseProcess::new(scheduler, self.decoder);
        let process = if self.bpd { Some(process.map_err(named)?) } else { None };
        if let Some(process) = &process {
            process.check_channels(config.in_channels, config.out_channels).map_err(named)?;
        }
        let flow = if self.ode { Some(Flow::new(scheduler).map_err(named)?) } else { None };
        let last = scheduler.num_train_timesteps as f32 - 1.0;
        config.check_timesteps(&[last], "num_train_timesteps")?;
        if self.ode {
            // The ODE asks between the timesteps.
            config.check_timesteps(&[0.5], &format!("{source}: --ode")).or(Err(Error::input(format!(
                "{source}: the network has an embedding for each whole timestep, --ode asks between them"
            ))))?;
        }
        if self.bpd && scheduler.class != SchedulerClass::Ddpm {
            note!("{source}: the bound is that of ancestral sampling with the noise of its {}", scheduler.class.name());
        }
        let (pictures, size) = self.pictures(data, config, shared, path)?;
        let mut device = flag.open()?;
        let work = Work { model: &model, size, batch: shared.batch, flag };
        let mut measured = Measured { bound: None, ode: None };
        if let Some(process) = &process {
            let options = BoundOptions { timesteps: self.timesteps, seed: shared.seed };
            measured.bound = Some(work.bound(&mut *device, process, &pictures, &options)?);
        }
        if let Some(flow) = &flow {
            let tolerance = Tolerance { absolute: self.atol, relative: self.rtol };
            let options = OdeOptions { tolerance, seed: shared.seed };
            measured.ode = Some(work.ode(&mut *device, flow, &pictures, &options)?);
        }
        let runs = self.timesteps.unwrap_or(scheduler.num_train_timesteps);
        let object = self.object(&measured, runs, pictures.len(), shared.seed);
        match self.json.as_deref() {
            Some(path) if path == Path::new("-") => say!("{object}"),
            other => {
                if let Some(path) = other {
                    atomic_file::write(path, format!("{object:#}\n").as_bytes())?;
                }
                let [height, width] = size;
                let fit = serde_json::to_value(shared.fit(path)).unwrap_or_default();
                let (count, channels) = (pictures.len(), config.in_channels);
                say!("{count} pictures of {data} as {height}x{width}x{channels} (fit {fit}), in bits/dim");
                self.say(&measured, scheduler, runs);
            }
        }
        if let (Some(path), Some(bound)) = (&self.plot, &measured.bound) {
            let title = format!("the bound of {data}, {:.3} bits/dim in all", bound.total);
            bound_plot(path, bound.decoder, &bound.terms, &title)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The pictures that are measured, and their size.
    fn pictures(
        &self,
        data: &str,
        config: &UNetConfig,
        shared: &Shared,
        path: &Path,
    ) -> Result<(LevelPictures, [usize; 2])> {
        let source = path.display();
        let channels = config.in_channels;
        let own = config.sample_size.map(SampleSize::height_width);
        let options = Options {
            image_size: own.filter(|[height, width]| height == width).map(|[side, _]| side),
            fit: shared.fit(path),
            grayscale: Some(channels == 1),
            multiple_of: if own.is_some() { 1 } else { config.size_multiple() },
        };
        let mut progress: Option<Progress> = None;
        let dataset = Dataset::open_with(data, &options, &mut |done, total| {
            progress.get_or_insert_with(|| Progress::new("reading", 0, total)).at(done, || "pictures,".into());
        })?;
        progress.into_iter().for_each(Progress::finish);
        let shape = dataset.shape();
        let expected = own.map_or([shape[0], shape[1], channels], |[height, width]| [height, width, channels]);
        if shape != expected {
            return Err(Error::input(format!("{data}: pictures of {shape:?}, the model {source} takes {expected:?}")));
        }
        config.check_size(shape[0], shape[1], data)?;
        let count = self.pictures.unwrap_or(dataset.len());
        if !(1..=dataset.len()).contains(&count) {
            let all = dataset.len();
            return Err(Error::input(format!("--pictures is {count}, expected 1 to {all}, the pictures of {data}")));
        }
        let mut order = Order::new(shared.seed, dataset.len());
        let mut numbers: Vec<usize> = (0..count).map(|position| order.picture(position)).collect();
        numbers.sort_unstable();
        let labels = match (config.class_embed_type, config.classes(), &dataset.labels) {
            (Some(ClassEmbedType::Identity), ..) => {
                return Err(Error::input(format!(
                    "{source}: class_embed_type is \"identity\", and data has no embeddings of its classes"
                )));
            }
            (_, None, _) => None,
            (_, Some(_), None) => {
                return Err(Error::input(format!("{data}: no labels, and the model {source} has classes")));
            }
            (_, Some(classes), Some(labels)) => {
                let labels: Vec<u32> = numbers.iter().map(|&number| labels[number]).collect();
                if let Some(label) = labels.iter().find(|&&label| label as usize >= classes) {
                    let last = classes - 1;
                    return Err(Error::input(format!("{data}: class {label}, the model {source} has 0 to {last}")));
                }
                Some(labels)
            }
        };
        let bytes = numbers.iter().flat_map(|&number| dataset.bytes(number)).copied().collect();
        let numbers = numbers.into_iter().map(|number| number as u32).collect();
        Ok((LevelPictures::new(shape, bytes, labels, numbers)?, [shape[0], shape[1]]))
    }

    fn object(&self, measured: &Measured, runs: usize, pictures: usize, seed: u64) -> Value {
        let mut object = Map::new();
        if let Some(bound) = &measured.bound {
            let Bound { prior, terms, terms_standard_error, decoder, total, standard_error, .. } = bound;
            object.insert("prior".into(), json!(prior));
            object.insert("terms".into(), json!(terms));
            object.insert("terms_standard_error".into(), json!(terms_standard_error));
            object.insert("decoder".into(), json!(decoder));
            object.insert("total".into(), json!(total));
            object.insert("standard_error".into(), json!(standard_error));
            object.insert("timesteps".into(), json!(runs));
            object.insert("terms_of_stretches".into(), json!(stretches_of_terms(bound)));
        }
        object.insert("pictures".into(), json!(pictures));
        object.insert("seed".into(), json!(seed));
        if let Some(OdeLikelihood { bits_per_dim, standard_error, function_evaluations, .. }) = &measured.ode {
            let ode = json!({
                "bits_per_dim": bits_per_dim,
                "standard_error": standard_error,
                "function_evaluations": function_evaluations,
                "rtol": self.rtol,
                "atol": self.atol,
            });
            object.insert("ode".into(), ode);
        }
        Value::Object(object)
    }

    fn say(&self, measured: &Measured, scheduler: &SchedulerConfig, runs: usize) {
        if let Some(bound) = &measured.bound {
            say_bound(bound, scheduler.num_train_timesteps);
        }
        if let Some(ode) = &measured.ode {
            say_line("ode", "", ode.bits_per_dim, ode.standard_error);
        }
        if measured.bound.is_some() {
            let variances = scheduler.variance_type.unwrap_or(VarianceType::FixedSmall);
            let variances = serde_json::to_value(variances).unwrap_or_default();
            let clipping = match (scheduler.thresholding, scheduler.clip_sample) {
                (true, _) => "x_0 thresholded".into(),
                (false, true) => format!("x_0 clipped to {}", scheduler.clip_sample_range),
                (false, false) => "x_0 not clipped".into(),
            };
            let at = if runs == scheduler.num_train_timesteps { "all".into() } else { format!("{runs} drawn of the") };
            say!(
                "total: the bound of ancestral sampling at {at} {} timesteps, variances {variances}, {clipping}:",
                scheduler.num_train_timesteps
            );
            match runs == scheduler.num_train_timesteps {
                true => say!("  no less than the pictures' negative log-likelihood"),
                false => say!("  an estimate of it; the more timesteps and pictures, the surer its standard error"),
            }
        }
        if let Some(ode) = &measured.ode {
            let runs = ode.function_evaluations;
            say!(
                "ode: the likelihood of the probability-flow ODE's density, in {runs:.1} runs of the network a picture:"
            );
            say!("  an estimate; with levels spread over their bins, in the mean no less than that of the levels");
        }
    }
}

/// A model on a device, at work.
struct Work<'a> {
    model: &'a ModelFolder,
    size: [usize; 2],
    batch: usize,
    flag: &'a DeviceFlag,
}

impl Work<'_> {
    fn bound(
        &self,
        device: &mut dyn Device,
        process: &ReverseProcess,
        pictures: &LevelPictures,
        options: &BoundOptions,
    ) -> Result<Bound> {
        let runs = pictures.len().saturating_mul(options.timesteps.unwrap_or(process.timesteps()));
        let forward = Forward::new(&self.model.unet, self.batch.min(runs), self.size)?;
        self.on(device, &forward, |mut network| {
            let mut progress: Option<Progress> = None;
            let found = bound(process, &mut network, pictures, options, &mut |done, all| {
                progress.get_or_insert_with(|| Progress::new("bound", 0, all)).at(done, || "terms,".into());
            })?;
            progress.into_iter().for_each(Progress::finish);
            Ok(found)
        })
    }

    fn ode(
        &self,
        device: &mut dyn Device,
        flow: &Flow,
        pictures: &LevelPictures,
        options: &OdeOptions,
    ) -> Result<OdeLikelihood> {
        let batch = self.batch.min(pictures.len());
        let forward = Forward::with_pull_back(&self.model.unet, batch, self.size)?;
        self.on(device, &forward, |mut network| {
            let mut progress = Progress::new("ode", 0, pictures.len());
            let found = ode_likelihood(flow, &mut network, pictures, options, &mut |done, runs| {
                progress.at(done, || format!("pictures, {runs} runs,"));
            })?;
            progress.finish();
            Ok(found)
        })
    }

    /// Tunes and loads a recording, and frees its memory after use.
    fn on<T>(
        &self,
        device: &mut dyn Device,
        forward: &Forward,
        work: impl FnOnce(DeviceNetwork) -> Result<T>,
    ) -> Result<T> {
        work(self.flag.load(device, forward, &self.model.weights, self.batch)?)
    }
}
