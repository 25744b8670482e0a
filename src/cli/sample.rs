//! `aquatint sample`

use super::classifier_guidance::ClassifierFlags;
use super::device::DeviceFlag;
use super::flow;
use super::given_pictures::GivenFlags;
use super::guidance::GuidanceFlags;
use super::model::read_model;
use super::output::{note, say};
use super::progress::Progress;
use super::sampling::{SamplingFlags, Way};
use crate::checkpoint::{ClassifierFolder, ModelFolder, Tensors, write_tensors};
use crate::device::Device;
use crate::diffusion::{
    Aim, Chain, ChainOptions, Direction, Guidance, Guide, Passes, Request, Sampler, SamplerOptions, StepNoise,
};
use crate::error::{Error, Result};
use crate::kernels::known_part::Projection;
use crate::nn::SampleSize;
use crate::pictures::{Pictures, save_png};
use crate::plan::Storage;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Draws pictures with a model
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  aquatint sample runs/digits -n 64 --steps 100 --seed 1 --out drawn\n  \
    aquatint sample runs/digits --sampler dpmpp-2m --steps 12 --out drawn\n  \
    aquatint sample runs/guided --guidance 3 --class 7 --out sevens\n  \
    aquatint sample runs/guided --guidance 5 --guidance-rescale 0.7 --guidance-interval 0.3,5 --out drawn\n  \
    aquatint sample runs/digits --classifier runs/guide --classifier-scale 2 --class 7 --out sevens\n  \
    aquatint sample runs/digits --classifier runs/guide --classifier-scale 20 --like seven.png --out alike\n  \
    aquatint sample runs/digits --sampler ddim --eta 0.5 --steps 50 --out drawn\n  \
    aquatint sample runs/digits --sampler unipc --steps 8 --timesteps karras --out drawn\n  \
    aquatint sample runs/digits --timesteps 10,15,25 --out drawn\n  \
    aquatint sample runs/digits --sampler heun --steps 18 --s-churn 20 --s-tmin 0.05 --out drawn\n  \
    aquatint sample runs/digits --sampler predictor-corrector --steps 200 --snr 0.16 --out drawn\n  \
    aquatint sample runs/digits --sampler rk45 --tolerance 1e-4 --out drawn\n  \
    aquatint sample runs/digits --init sketch.png --strength 0.5 -n 16 --out edited\n  \
    aquatint sample runs/digits --inpaint seven.png --mask hole.png --resample 10 --steps 50 -n 16 --out filled\n  \
    aquatint sample runs/photos --colorize old.jpg --out colours\n  \
    aquatint sample runs/photos --upscale small.png --out large\n\n\
    --sampler does what diffusers' `from_config` does: the keys of the folder's scheduler that the other class knows are \
    kept, the rest is the other class's default.")]
pub(super) struct Sample {
    /// A model folder, a run's or one in diffusers' layout, or a file of weights beside its config.json
    model: PathBuf,
    /// Pictures to draw
    #[arg(short = 'n', long = "count", default_value_t = 64, value_name = "N")]
    count: usize,
    #[command(flatten)]
    sampling: SamplingFlags,
    /// Makes the noise; picture k of a seed gets the same noise whatever is drawn with it
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
    /// Takes the noise to begin with from the tensor `noise` [N, C, H, W] of a safetensors file: standard normal, x_T is
    /// this times the scheduler's init_noise_sigma
    #[arg(long, value_name = "FILE")]
    init_noise: Option<PathBuf>,
    /// Takes the noise of every step from the tensor `noise` [steps, N, C, H, W] of a safetensors file, the first step's
    /// first; samplers that add none do not look at it, those that add more than one in a step take as many
    #[arg(long, value_name = "FILE")]
    step_noise: Option<PathBuf>,
    /// Writes the pictures as floats, tensor `sample` [N, C, H, W] in [-1, 1]
    #[arg(long, value_name = "FILE")]
    tensors: Option<PathBuf>,
    /// A class, or one for every picture: 3 or 5,2,...; all classes in turn if not given
    #[arg(long, value_delimiter = ',', value_name = "CLASS")]
    class: Vec<u32>,
    #[command(flatten)]
    device: DeviceFlag,
    #[command(flatten)]
    guidance: GuidanceFlags,
    #[command(flatten)]
    classifier: ClassifierFlags,
    #[command(flatten)]
    given: GivenFlags,
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
        let mut model = read_model(&self.model)?;
        self.guidance.name_class(&mut model.unet)?;
        let [height, width] = picture_size(&model, self.image_size, &self.model)?;
        let guidance = Guidance { classifier_scale: self.classifier.scale(), ..self.guidance.guidance()? };
        let (strength, resampling) = (self.given.strength(), self.given.resampling()?);
        let base = ChainOptions { guidance, strength, resampling, ..ChainOptions::default() };
        let way = self.sampling.way(&model.scheduler, base)?;
        let channels = model.unet.config().in_channels;
        let mut draws = 0;
        if let Way::Chain(chain) = &way {
            chain.guidance().check_network(model.unet.config())?;
            chain.check_channels(channels, model.unet.config().out_channels)?;
            draws = chain.draws();
        }
        let shape = [self.count, channels, height, width];
        let guide = self.classifier.read(&model, [height, width])?;
        let given = self.given.read([height, width, channels])?;
        // A model that knows no classes may still be guided to them.
        let only_guided = guide.is_some() && model.unet.config().classes().is_none();
        let mut request = Request {
            count: self.count,
            seed: self.seed,
            labels: match &self.class[..] {
                _ if only_guided => None,
                [] => None,
                [class] => Some(vec![*class; self.count]),
                classes => Some(classes.to_vec()),
            },
            initial_noise: self.init_noise.as_deref().map(|path| read_noise(path, &[], shape)).transpose()?,
            step_noise: self.step_noise.as_deref().map(|path| read_noise(path, &[draws], shape)).transpose()?,
            ..Request::default()
        };
        given.request(&mut request);
        let mut device = self.device.open()?;
        std::fs::create_dir_all(&self.out).map_err(Error::io(&self.out))?;
        if let Some(guide) = &guide {
            let aim = self.classifier.aim(guide, &self.class, self.count, &mut *device, &self.device)?;
            request.aim = Some(aim);
        }
        let size = [height, width];
        let drawn = match way {
            Way::Chain(chain) => {
                let sizes = [self.batch, height, width];
                let beside = (guide.as_ref(), given.projection);
                draw_with(&model, beside, chain, &mut *device, &self.device, &request, sizes)?
            }
            Way::Flow(along, tolerance) => {
                let to_pictures = (Direction::ToPictures, tolerance);
                flow::follow(&model, &along, &mut *device, &self.device, &request, self.batch, size, to_pictures)?
            }
        };

        if let Some(path) = &self.tensors {
            let tensor = ("sample".to_string(), shape.to_vec(), to_nchw(&drawn, shape));
            write_tensors(path, &[tensor], &[])?;
        }
        write_pictures(&self.out, &drawn, self.count, [height, width, channels])?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes pictures into a folder, and a contact sheet of the first.
pub(super) fn write_pictures(out: &Path, drawn: &[f32], count: usize, shape: [usize; 3]) -> Result<()> {
    std::fs::create_dir_all(out).map_err(Error::io(out))?;
    let pictures = Pictures::new(drawn, count, shape)?;
    let digits = (count - 1).to_string().len().max(4);
    for index in 0..count {
        pictures.save_png(&out.join(format!("{index:0digits$}.png")), index)?;
    }
    let sheet = out.join("sheet.png");
    let on_sheet = count.min(SHEET);
    let first = Pictures::new(&drawn[..on_sheet * shape.iter().product::<usize>()], on_sheet, shape)?;
    save_png(&sheet, &first.contact_sheet(0, None)?.into())?;
    say!("{count} pictures and {}", sheet.display());
    Ok(())
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

/// Noise from a file, as NHWC; `before` are sizes before those of the pictures.
fn read_noise(path: &Path, before: &[usize], [n, c, h, w]: [usize; 4]) -> Result<Vec<f32>> {
    let file = Tensors::open(path)?;
    let data = file.finite("noise", &[before, &[n, c, h, w]].concat())?;
    Ok(to_nhwc(&data, [before.iter().product::<usize>() * n, c, h, w]))
}

/// Draws a request with a progress bar.
pub(super) fn draw(
    model: &ModelFolder,
    chain: Chain,
    device: &mut dyn Device,
    flag: &DeviceFlag,
    request: &Request,
    batch: usize,
    [height, width]: [usize; 2],
) -> Result<Vec<f32>> {
    draw_with(model, (None, None), chain, device, flag, request, [batch, height, width])
}

/// As [`draw`], guided by a classifier, or with what is known of the pictures; the sizes are pictures at a time, height and
/// width.
fn draw_with(
    model: &ModelFolder,
    (classifier, projection): (Option<&ClassifierFolder>, Option<Projection>),
    chain: Chain,
    device: &mut dyn Device,
    flag: &DeviceFlag,
    request: &Request,
    [batch, height, width]: [usize; 3],
) -> Result<Vec<f32>> {
    let weights = Storage::f32("weights", model.weights.len());
    let batch = batch.min(request.count);
    let stages = chain.stages().len();
    let step_noise = if request.step_noise.is_some() { StepNoise::Given } else { StepNoise::Drawn };
    let by_classes = matches!(request.aim, Some(Aim::Classes(_)));
    let pulls = classifier.filter(|_| chain.guidance().classifier_scale > 0.0);
    let of_guide = pulls.map(|folder| (folder, Storage::f32("classifier's weights", folder.weights.len())));
    let guide =
        of_guide.as_ref().map(|(folder, weights)| Guide { classifier: &folder.classifier, weights, by_classes });
    let size = [height, width];
    let options = SamplerOptions { step_noise, guide: guide.as_ref(), projection };
    let record = |batch: usize| Sampler::with(&model.unet, &weights, chain.clone(), batch, size, options);
    let mut sampler = record(batch)?;
    let both = chain.stages().iter().any(|stage| stage.passes() == Passes::Both);
    let each = if both { ", each with and without its class" } else { "" };
    note!("memory       {:.1} MB planned for {batch} pictures at a time{each}", sampler.memory().total() as f64 / 1e6);
    flag.tune(device, |device, watch| sampler.tune(device, watch))?;
    if let Err(error) = sampler.load(device) {
        let Error::OutOfMemory(why) = error else { return Err(error) };
        let halves = std::iter::successors(Some(batch / 2), |batch| Some(batch / 2)).take_while(|&batch| batch > 0);
        let fits = |batch: &usize| record(*batch).is_ok_and(|smaller| smaller.would_fit(device));
        let advice = match halves.into_iter().find(fits) {
            Some(fitting) => format!("--batch {fitting} would fit"),
            None => "not even --batch 1 would fit".into(),
        };
        return Err(Error::OutOfMemory(format!("batch {batch}{each}: {why}; {advice}")));
    }
    device.upload(&weights, 0, &model.weights)?;
    if let Some((folder, weights)) = &of_guide {
        device.upload(weights, 0, &folder.weights)?;
    }
    let mut progress = Progress::new("drawing", 0, request.count.div_ceil(batch) * stages);
    let drawn = sampler.sample(device, request, |number, done, _| {
        progress.at(number * stages + done, || "steps,".into());
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
