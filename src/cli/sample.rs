//! `aquatint sample`

use super::device::DeviceFlag;
use super::output::say;
use super::progress::Progress;
use crate::checkpoint::{ModelFolder, read_tensors, write_tensors};
use crate::device::Device;
use crate::diffusion::{Request, Sampler};
use crate::error::{Error, Result};
use crate::nn::SampleSize;
use crate::pictures::{Pictures, save_png};
use crate::plan::Storage;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Draws pictures with a model
#[derive(clap::Args)]
#[command(after_help = "Example: aquatint sample runs/digits -n 64 --steps 100 --seed 1 --out drawn")]
pub(super) struct Sample {
    /// A model folder: a run's, or one in diffusers' layout
    model: PathBuf,
    /// Pictures to draw
    #[arg(short = 'n', long = "count", default_value_t = 64, value_name = "N")]
    count: usize,
    /// Sampling steps; all of the model's timesteps if not given
    #[arg(long, value_name = "K")]
    steps: Option<usize>,
    /// Makes the noise; picture k of a seed is the same whatever is drawn with it
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    seed: u64,
    /// Folder for the PNGs and the contact sheet
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Pictures at a time
    #[arg(long, default_value_t = 64, value_name = "N")]
    batch: usize,
    /// Height and width; the model's own if not given
    #[arg(long, value_name = "PIXELS")]
    image_size: Option<usize>,
    /// Takes x_T from the tensor `noise` [N, C, H, W] of a safetensors file
    #[arg(long, value_name = "FILE")]
    init_noise: Option<PathBuf>,
    /// Writes the pictures as floats, tensor `sample` [N, C, H, W] in [-1, 1]
    #[arg(long, value_name = "FILE")]
    tensors: Option<PathBuf>,
    /// A class, or one for every picture: 3 or 5,2,...; all classes in turn if not given
    #[arg(long, value_delimiter = ',', value_name = "CLASS")]
    class: Vec<u32>,
    #[command(flatten)]
    device: DeviceFlag,
}

/// Pictures in one call. Further ones are drawn with another seed.
const MOST_PICTURES: usize = 1 << 24;
/// Pictures on the contact sheet.
const SHEET: usize = 1024;

/// NCHW to NHWC.
pub(super) fn to_nhwc(data: &[f32], [n, c, h, w]: [usize; 4]) -> Vec<f32> {
    let pixels = h * w;
    (0..n * pixels * c).map(|i| data[(i / (pixels * c) * c + i % c) * pixels + i / c % pixels]).collect()
}

/// NHWC to NCHW, of sizes given as NCHW.
pub(super) fn to_nchw(data: &[f32], [n, c, h, w]: [usize; 4]) -> Vec<f32> {
    let pixels = h * w;
    (0..n * pixels * c).map(|i| data[(i / (pixels * c) * pixels + i % pixels) * c + i / pixels % c]).collect()
}

impl Sample {
    pub(super) fn run(&self) -> Result<ExitCode> {
        for (flag, value) in [("-n", self.count), ("--batch", self.batch)] {
            if !(1..=MOST_PICTURES).contains(&value) {
                return Err(Error::input(format!("{flag} is {value}, expected 1 to {MOST_PICTURES}")));
            }
        }
        let model = ModelFolder::read(&self.model)?;
        let [height, width] = picture_size(&model, self.image_size, &self.model)?;
        let channels = model.unet.config().out_channels;
        let shape = [self.count, channels, height, width];
        let request = Request {
            count: self.count,
            steps: self.steps.unwrap_or(model.scheduler.num_train_timesteps),
            seed: self.seed,
            labels: match &self.class[..] {
                [] => None,
                [class] => Some(vec![*class; self.count]),
                classes => Some(classes.to_vec()),
            },
            initial_noise: self.init_noise.as_deref().map(|path| read_noise(path, shape)).transpose()?,
            ..Request::default()
        };
        let mut device = self.device.open()?;
        std::fs::create_dir_all(&self.out).map_err(Error::io(&self.out))?;
        let drawn = draw(&model, &mut *device, &self.device, &request, self.batch, [height, width])?;

        if let Some(path) = &self.tensors {
            let tensor = ("sample".to_string(), shape.to_vec(), to_nchw(&drawn, shape));
            write_tensors(path, &[tensor], &[])?;
        }
        let pictures = Pictures::new(&drawn, self.count, [height, width, channels])?;
        let digits = (self.count - 1).to_string().len().max(4);
        for index in 0..self.count {
            pictures.save_png(&self.out.join(format!("{index:0digits$}.png")), index)?;
        }
        let sheet = self.out.join("sheet.png");
        let on_sheet = self.count.min(SHEET);
        let first = &drawn[..on_sheet * channels * height * width];
        let first = Pictures::new(first, on_sheet, [height, width, channels])?;
        save_png(&sheet, &first.contact_sheet(0, None)?.into())?;
        say!("{} pictures and {}", self.count, sheet.display());
        Ok(ExitCode::SUCCESS)
    }
}

/// The size that was asked for, or the model's own.
pub(super) fn picture_size(model: &ModelFolder, asked: Option<usize>, source: &Path) -> Result<[usize; 2]> {
    let config = model.unet.config();
    let size = asked.map(|size| [size, size]).or(config.sample_size.map(SampleSize::height_width));
    let source = source.display().to_string();
    let [height, width] =
        size.ok_or_else(|| Error::input(format!("{source}: the model names no sample_size; give --image-size")))?;
    config.check_size(height, width, &source)?;
    Ok([height, width])
}

/// x_T from a file, as NHWC.
fn read_noise(path: &Path, shape: [usize; 4]) -> Result<Vec<f32>> {
    let file = read_tensors(path)?;
    let (found, data) = file.get("noise", path)?;
    if *found != shape {
        let path = path.display();
        return Err(Error::input(format!("{path}: tensor noise has shape {found:?}, expected {shape:?}")));
    }
    if data.iter().any(|value| !value.is_finite()) {
        return Err(Error::input(format!("{}: tensor noise is not finite", path.display())));
    }
    Ok(to_nhwc(data, shape))
}

/// Draws a request with a progress bar.
pub(super) fn draw(
    model: &ModelFolder,
    device: &mut dyn Device,
    flag: &DeviceFlag,
    request: &Request,
    batch: usize,
    size: [usize; 2],
) -> Result<Vec<f32>> {
    let weights = Storage::f32("weights", model.weights.len());
    let batch = batch.min(request.count);
    let mut sampler = Sampler::new(&model.unet, &weights, &model.scheduler, batch, size)?;
    model.scheduler.leading_timesteps(request.steps)?;
    flag.tune(device, |device, watch| sampler.tune(device, watch))?;
    sampler.load(device).map_err(|error| match error {
        Error::OutOfMemory(why) => Error::OutOfMemory(format!("batch {batch}: {why}; try a smaller --batch")),
        other => other,
    })?;
    device.upload(&weights, 0, &model.weights)?;
    let mut progress = Progress::new("drawing", 0, request.count.div_ceil(batch) * request.steps);
    let drawn = sampler.sample(device, request, |number, done, _| {
        progress.at(number * request.steps + done, || "steps,".into());
        Ok(())
    })?;
    progress.finish();
    Ok(drawn)
}

#[cfg(test)]
mod tests {
    #[test]
    fn layouts_go_there_and_back() {
        let shape = [2, 3, 4, 5];
        let data: Vec<f32> = (0..120).map(|i| i as f32).collect();
        let nhwc = super::to_nhwc(&data, shape);
        assert_eq!(nhwc[..4], [0.0, 20.0, 40.0, 1.0]);
        assert_eq!(super::to_nchw(&nhwc, shape), data);
    }
}
