//! `aquatint invert`

use super::device::DeviceFlag;
use super::drawer::draw;
use super::flow;
use super::guidance::GuidanceFlags;
use super::model::read_model;
use super::output::say;
use super::sample::{picture_size, to_nchw};
use super::sampling::{SamplingFlags, Way};
use crate::checkpoint::{ModelFolder, write_tensors};
use crate::data::{Dataset, Fit, Options};
use crate::device::Device;
use crate::diffusion::{Direction, Guidance, Request};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Finds the noise that a model draws given pictures from
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  aquatint invert runs/digits --data digits --pictures 16 --steps 50 --out noise.safetensors\n  \
    aquatint sample runs/digits --sampler ddim --steps 50 --init-noise noise.safetensors -n 16 --out back\n  \
    aquatint invert runs/digits --data photos --sampler rk45 --tolerance 1e-5 --out noise.safetensors\n\n\
    `sample --init-noise` with the same sampler (ddim, or euler for a network in continuous time), steps and timesteps \
    draws the pictures again, the nearer the less it clips x_0 (clip_sample of the scheduler)."
)]
pub(super) struct Invert {
    /// A model folder, a run's or one in diffusers' layout, or a file of weights beside its config.json
    model: PathBuf,
    /// The pictures: digits, IDX files or a folder, as `train` takes them, or one PNG or JPEG
    #[arg(long, value_name = "DATA")]
    data: String,
    /// Pictures to take, the first ones of the data; all if not given
    #[arg(long, value_name = "N")]
    pictures: Option<usize>,
    /// How pictures of another size or shape are brought to the model's
    #[arg(long, value_enum, default_value = "crop", value_name = "FIT")]
    fit: Fit,
    /// A safetensors file: the tensor `noise` [N, C, H, W] that `sample --init-noise` takes
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Runs of the network in a step; with 1 the way back is the nearer the more steps there are, each further one brings it closer
    #[arg(long, default_value_t = 5, value_name = "K")]
    iterations: usize,
    /// Pictures at a time
    #[arg(long, default_value_t = 64, value_name = "N")]
    batch: usize,
    /// A class for all pictures; the data's own if not given
    #[arg(long, value_name = "CLASS")]
    class: Option<u32>,
    #[command(flatten)]
    sampling: SamplingFlags,
    #[command(flatten)]
    guidance: GuidanceFlags,
    #[command(flatten)]
    device: DeviceFlag,
}

impl Invert {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let mut model = read_model(&self.model)?;
        self.guidance.name_class(&mut model.unet)?;
        let size = picture_size(&model, None, &self.model)?;
        let guidance = self.guidance.guidance()?;
        guidance.check_network(model.unet.config())?;
        let way = self.sampling.way_back(&model.scheduler, guidance, self.iterations)?;
        let channels = model.unet.config().in_channels;
        let options = Options {
            image_size: (size[0] == size[1]).then_some(size[0]),
            fit: self.fit,
            grayscale: Some(channels == 1),
            multiple_of: 1,
        };
        let expected = [size[0], size[1], channels];
        let file = Path::new(&self.data);
        let data = match Dataset::is_picture(file) && file.is_file() {
            true => Dataset::open_picture(file, expected, self.fit)?,
            false => Dataset::open(&self.data, &options)?,
        };
        if data.shape() != expected {
            let (data, found) = (&self.data, data.shape());
            return Err(Error::input(format!("{data}: pictures of {found:?}, the model takes {expected:?}")));
        }
        let (count, all) = (self.pictures.unwrap_or(data.len()), data.len());
        if !(1..=all).contains(&count) {
            let data = &self.data;
            return Err(Error::input(format!("--pictures is {count}, expected 1 to {all}, the pictures of {data}")));
        }
        if self.batch == 0 {
            return Err(Error::input("--batch is 0, expected at least 1"));
        }
        let mut states = vec![0.0; count * data.picture_len()];
        for (index, state) in states.chunks_exact_mut(data.picture_len()).enumerate() {
            data.picture(index, false, state);
        }
        let own = |labels: &Vec<u32>| labels[..count].to_vec();
        let labels = match (model.unet.config().classes(), self.class) {
            (None, None) => None,
            (_, Some(class)) => Some(vec![class; count]),
            (Some(_), None) => Some(data.labels.as_ref().map(own).ok_or_else(|| {
                Error::input(format!("{}: no classes, which the model has; expected --class", self.data))
            })?),
        };
        let request = Request { count, labels, initial_noise: Some(states), ..Request::default() };
        let mut device = self.device.open()?;
        let deviation = match way {
            Way::Flow(..) => 1.0,
            Way::Chain(_) => self.sampling.forth(&model.scheduler, Guidance::default())?.initial_deviation(),
        };
        let noise = find_noise(&model, (way, deviation), &mut *device, &self.device, &request, self.batch, size)?;
        let shape = [count, channels, size[0], size[1]];
        write_tensors(&self.out, &[("noise".to_string(), shape.to_vec(), to_nchw(&noise, shape))], &[])?;
        say!("{}: the noise of {count} pictures", self.out.display());
        Ok(ExitCode::SUCCESS)
    }
}

/// The standard normal noise that a request's pictures, in the place of its noise, are drawn from: by the way back of a way
/// that begins with noise of this deviation.
pub(super) fn find_noise(
    model: &ModelFolder,
    (way, deviation): (Way, f64),
    device: &mut dyn Device,
    flag: &DeviceFlag,
    request: &Request,
    batch: usize,
    size: [usize; 2],
) -> Result<Vec<f32>> {
    match way {
        Way::Flow(along, tolerance) => {
            flow::follow(model, &along, device, flag, request, batch, size, (Direction::ToNoise, tolerance))
        }
        Way::Chain(chain) => {
            let x = draw(model, chain, device, flag, request, batch, size)?;
            Ok(x.into_iter().map(|x| x / deviation as f32).collect())
        }
    }
}
