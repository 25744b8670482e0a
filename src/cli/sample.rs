//! `aquatint sample`

use super::classifier_guidance::ClassifierFlags;
use super::device::DeviceFlag;
use super::drawer::{BATCH, BatchSize, Drawer, Kit};
use super::given_pictures::{Given, GivenFlags};
use super::guidance::GuidanceFlags;
use super::model::read_model;
use super::output::{note, say};
use super::progress::Progress;
use super::sample_files::{FileFlags, resolved};
use super::sample_job::{Batch, Job, Shard};
use super::sample_output::Output;
use super::sample_record::Record;
use super::sampling::{SamplingFlags, Way};
use crate::checkpoint::{ClassifierFolder, ModelFolder, Tensors};
use crate::device::Device;
use crate::diffusion::{Aim, Chain, ChainOptions, Guidance, Request, SchedulerConfig};
use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;
use crate::nn::SampleSize;
use crate::pictures::Label;
use serde_json::json;
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
    aquatint sample runs/photos --upscale small.png --out large\n  \
    aquatint sample runs/digits -n 50000 --sampler unipc --steps 20 --npz digits.npz --out many\n  \
    aquatint sample runs/digits --path way.gif --x0-path predicted.png --steps 50 --sampler ddim --out drawn\n  \
    aquatint sample runs/digits -n 50000 --shard $((SLURM_ARRAY_TASK_ID+1))/8 --out many\n\n\
    --sampler does what diffusers' `from_config` does: the keys of the folder's scheduler that the other class knows are \
    kept, the rest is the other class's default.\n\n\
    The same command in the same --out goes on where one was interrupted, and comes to the same bytes: sampling.json in it \
    says what its pictures were asked to be, and another command is refused.\n\n\
    A job of -n pictures can be drawn in shards, for instance by a Slurm array (sbatch --array=0-7) as above. All may write to one \
    --out, in which the command without --shard then makes the sheet of all. Shards are whole batches, if there are as many as \
    shards; other batches are drawn by both of their shards, each keeping its part. So all pictures have the bits that one run \
    gives them, on devices of one kind with the same --batch; on others they agree to about 1e-3.")]
pub(super) struct Sample {
    /// A model folder, a run's or one in diffusers' layout, or a file of weights beside its config.json
    model: PathBuf,
    /// Pictures to draw
    #[arg(short = 'n', long = "count", default_value_t = 64, value_name = "N")]
    count: usize,
    /// Makes the noise; picture k of a seed gets the same noise whatever is drawn with it
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    seed: u64,
    /// Folder for the PNGs and the contact sheet
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Pictures at a time; if not given, 64, or the largest halving of it that fits in the device's memory
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Draws part I of N of the -n pictures, I from 1 to N, so that N runs draw all; pictures keep their numbers, and the
    /// sheet's and the other files' names get -I-of-N before their ending
    #[arg(long, value_name = "I/N")]
    shard: Option<String>,
    /// Replaces what another command has drawn in --out
    #[arg(long, conflicts_with = "shard")]
    overwrite: bool,
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
    /// A class, or one for every picture: 3 or 5,2,...; all classes in turn if not given
    #[arg(long, value_delimiter = ',', value_name = "CLASS")]
    class: Vec<u32>,
    #[command(flatten)]
    device: DeviceFlag,
    // Headings are those of all flags after them.
    #[command(flatten)]
    files: FileFlags,
    #[command(flatten)]
    sampling: SamplingFlags,
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
pub(super) const SHEET: usize = 1024;

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
        for (flag, value) in [("-n", self.count), ("--batch", self.batch.unwrap_or(1))] {
            if !(1..=MOST_PICTURES).contains(&value) {
                return Err(Error::input(format!("{flag} is {value}, expected 1 to {MOST_PICTURES}")));
            }
        }
        let shard = self.shard.as_deref().map(Shard::parse).transpose()?;
        if resolved(&self.out) == resolved(&self.model) {
            let out = self.out.display();
            return Err(Error::input(format!("--out is {out}, the model's folder; expected another")));
        }
        self.files.check(&self.out, &self.model)?;
        let mut asked = self.ask()?;
        let mut device = self.device.open()?;
        if let Some(guide) = &asked.guide {
            let aim = self.classifier.aim(guide, &self.class, self.count, &mut *device, &self.device)?;
            // Before anything is overwritten: the picture may lie in the folder.
            asked.aim = Some(self.classifier.fingerprint(&aim)?);
            asked.request.aim = Some(aim);
        }
        let asked = &asked;
        let kit = Kit {
            model: &asked.model,
            classifier: asked.guide.as_ref(),
            projection: asked.given.projection,
            predictions: self.files.x0_path.is_some(),
            flag: &self.device,
            size: asked.size,
        };
        let (batches, drawer) = self.settle_batches(asked, kit, &mut *device, shard)?;
        let (job, mut output) = self.output(asked, batches, shard)?;
        output.record = self.record(asked, batches).fingerprint();
        if job.range.is_empty() {
            say!("{}", job.describe());
            return Ok(ExitCode::SUCCESS);
        }
        let all = job.batches().count();
        let missing = output.missing();
        match (missing.len(), all) {
            (0, _) => note!("{}: {} are there", self.out.display(), job.describe()),
            (left, all) if left < all => note!("{}: {} of {all} batches are there", self.out.display(), all - left),
            _ => {}
        }
        if !missing.is_empty() {
            let mut drawer = match drawer.filter(|drawer| drawer.batch() == batches[0]) {
                Some(drawer) => drawer,
                None => Drawer::load(kit, &asked.way, &mut *device, &asked.request, BatchSize::Given(batches[0]))?,
            };
            draw_missing(asked, kit, &mut drawer, &mut *device, &output, &missing)?;
        }
        let label = |picture: usize| asked.label(picture);
        output.finish((!self.files.no_labels).then_some(&label))?;
        Ok(ExitCode::SUCCESS)
    }

    /// Reads what the flags name, and refuses what does not go together.
    fn ask(&self) -> Result<Asked> {
        let mut model = read_model(&self.model)?;
        self.guidance.name_class(&mut model.unet)?;
        let size @ [height, width] = picture_size(&model, self.image_size, &self.model)?;
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
        let guide = self.classifier.read(&model, size)?;
        let given = self.given.read([height, width, channels])?;
        // A model that knows no classes may still be guided to them.
        let only_guided = guide.is_some() && model.unet.config().classes().is_none();
        let request = Request {
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
        let labels = request.labels_for(model.unet.config())?;
        let weights = Fingerprint::default().floats(&model.weights).text();
        Ok(Asked { model, weights, way, guidance, guide, given, request, aim: None, labels, size })
    }

    /// Where pictures of these batches, the drawn and the undivided, go.
    fn output(&self, asked: &Asked, batches: [usize; 2], shard: Option<Shard>) -> Result<(Job, Output)> {
        let [height, width] = asked.size;
        let job = Job::new(self.count, batches.map(|batch| Drawer::together(&asked.way, batch)), shard);
        let shape = [height, width, asked.model.unet.config().in_channels];
        let mut output = Output::new(&self.out, job.clone(), shape);
        let stages = if let Way::Chain(chain) = &asked.way { Some(chain.stages().len()) } else { None };
        self.files.ask(&mut output, &job, stages)?;
        Ok((job, output))
    }

    /// The batches of the folder's record, or of the one that is made: of what fits, which is loaded then.
    fn settle_batches<'a>(
        &self,
        asked: &'a Asked,
        kit: Kit,
        device: &mut dyn Device,
        shard: Option<Shard>,
    ) -> Result<([usize; 2], Option<Drawer<'a>>)> {
        let most = self.batch.unwrap_or(BATCH).min(self.count);
        if self.overwrite {
            // A record that cannot be read is replaced like any other.
            let earlier = Record::read(&self.out).ok().flatten().and_then(|earlier| earlier.number("count"));
            let earlier = earlier.filter(|count| (1..=MOST_PICTURES).contains(count));
            self.output(asked, [most; 2], shard)?.1.clear(earlier)?;
        }
        let mut drawer: Option<Drawer> = None;
        // Twice where there is no record: another shard may be faster to write it.
        loop {
            let strays = self.output(asked, [most; 2], shard)?.1.refuse_strays();
            if let Some(earlier) = Record::read(&self.out)? {
                // Shards are divided as those that began, also where only some are given a batch.
                let known = |key| earlier.number(key).filter(|batch| (1..=self.count).contains(batch)).unwrap_or(most);
                let batch = if self.batch.is_some() { most } else { known("batch") };
                let batches = [batch, known("undivided_batch")];
                earlier.check(&self.out, &self.record(asked, batches))?;
                return Ok((batches, drawer));
            }
            strays?;
            let size = if self.batch.is_some() { BatchSize::Given(most) } else { BatchSize::Fitting(most) };
            let loaded = Drawer::load(kit, &asked.way, device, &asked.request, size)?;
            std::fs::create_dir_all(&self.out).map_err(Error::io(&self.out))?;
            self.record(asked, [loaded.batch(), most]).create(&self.out)?;
            drawer = Some(loaded);
        }
    }

    /// Everything that decides the pictures.
    fn record(&self, asked: &Asked, [batch, undivided]: [usize; 2]) -> Record {
        let Asked { model, guidance, request, .. } = asked;
        let mut keys = self.sampling.record(&model.scheduler);
        let network = format!("{}{}", model.unet.config().to_json(), model.scheduler.to_json());
        let noise = |noise: &Option<Vec<f32>>| noise.as_ref().map(|x| Fingerprint::default().floats(x).text());
        let classifier = asked.guide.as_ref().map(|guide| {
            let noise = guide.scheduler.as_ref().map(SchedulerConfig::to_json).unwrap_or_default();
            let network = format!("{}{noise}", guide.classifier.config().to_json());
            Fingerprint::default().floats(&guide.weights).bytes(network.as_bytes()).text()
        });
        let rest = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "count": self.count,
            "seed": self.seed,
            "batch": batch,
            "undivided_batch": undivided,
            "size": asked.size,
            "weights": asked.weights,
            "configuration": Fingerprint::default().bytes(network.as_bytes()).text(),
            "guidance": guidance.scale,
            "guidance_rescale": guidance.rescale,
            "guidance_interval": guidance.interval,
            "classifier_scale": guidance.classifier_scale,
            "stages": if let Way::Chain(chain) = &asked.way { fingerprint(chain) } else { String::new() },
            "classes": asked.labels.as_ref().map(|labels| Fingerprint::default().integers(labels).text()),
            "classifier": classifier,
            "aim": asked.aim,
            "init_noise": noise(&request.initial_noise),
            "step_noise": noise(&request.step_noise),
            "strength": self.given.strength(),
            "given": asked.given.fingerprint(),
        });
        keys.extend(rest.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
        keys.retain(|_, value| !value.is_null());
        Record(keys)
    }
}

/// What the flags ask for, read.
struct Asked {
    model: ModelFolder,
    /// A fingerprint of the model's.
    weights: String,
    way: Way,
    guidance: Guidance,
    guide: Option<ClassifierFolder>,
    given: Given,
    request: Request,
    /// A fingerprint of what a classifier draws towards.
    aim: Option<String>,
    /// The class of every picture, where the model has any.
    labels: Option<Vec<u32>>,
    /// Height and width.
    size: [usize; 2],
}

impl Asked {
    /// What stands below a picture on the sheet.
    fn label(&self, picture: usize) -> Label {
        let classes = match (&self.request.aim, &self.labels) {
            (Some(Aim::Classes(classes)), None) => Some(classes),
            (_, labels) => labels.as_ref(),
        };
        let name = |class: u32| {
            let names = self.guide.as_ref().map(|guide| &guide.class_names[..]).unwrap_or_default();
            names.get(class as usize).cloned().unwrap_or_else(|| class.to_string())
        };
        Label { number: format!("#{picture}"), class: classes.map_or(String::new(), |classes| name(classes[picture])) }
    }
}

/// Draws batches with a progress bar, and writes each.
fn draw_missing(
    asked: &Asked,
    kit: Kit,
    drawer: &mut Drawer,
    device: &mut dyn Device,
    output: &Output,
    missing: &[Batch],
) -> Result<()> {
    let elements = kit.size[0] * kit.size[1] * asked.model.unet.config().in_channels;
    let work: Vec<(usize, &str)> = missing.iter().map(|batch| drawer.work(batch.drawn.len())).collect();
    let mut progress = Progress::new("drawing", 0, work.iter().map(|(steps, _)| steps).sum());
    let mut before = 0;
    for (batch, (steps, what)) in missing.iter().zip(work) {
        let mut part = asked.request.part(batch.drawn.clone(), elements)?;
        asked.given.request(&mut part);
        output.take(batch, |watch| {
            let tell = &mut |done| progress.at(before + done, || what.into());
            drawer.draw(kit, &mut *device, &part, watch, tell)
        })?;
        before += steps;
    }
    progress.finish();
    Ok(())
}

/// Of what a chain's stages do, in the precision that it is done in.
fn fingerprint(chain: &Chain) -> String {
    let told: Vec<f32> = chain.stages().iter().map(|stage| stage.timestep as f32).collect();
    let begins = [chain.initial_deviation() as f32];
    Fingerprint::default().floats(&chain.table()).floats(&told).floats(&begins).integers(&[chain.draws() as u32]).text()
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
