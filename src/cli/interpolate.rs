//! `aquatint interpolate`

use super::device::DeviceFlag;
use super::drawer::draw;
use super::flow;
use super::guidance::GuidanceFlags;
use super::invert::find_noise;
use super::model::read_model;
use super::output::say;
use super::sample::picture_size;
use super::sample_record::Record;
use super::sampling::{SamplingFlags, Way};
use crate::checkpoint::ModelFolder;
use crate::data::{Dataset, Fit};
use crate::device::Device;
use crate::diffusion::{Direction, Request, slerp};
use crate::error::{Error, Result};
use crate::pictures::{Pictures, save_png};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Draws what lies between two seeds or two pictures
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  aquatint interpolate runs/digits --from 1 --to 2 -n 9 --out between\n  \
    aquatint interpolate runs/digits --from three.png --to eight.png --steps 100 --out between\n  \
    aquatint interpolate runs/digits --from 1 --to 2 --sampler dpmpp-2m --steps 20 --out between\n\n\
    The noise turns from one to the other (slerp), and every picture is drawn from its own by a sampler without noise in its \
    steps. A picture's noise is found as `invert` does.")]
pub(super) struct Interpolate {
    /// A model folder, a run's or one in diffusers' layout, or a file of weights beside its config.json
    model: PathBuf,
    /// Where it begins: a seed or a picture (./1 is a file called 1)
    #[arg(long, value_name = "SEED|IMAGE")]
    from: String,
    /// Where it ends: a seed or a picture
    #[arg(long, value_name = "SEED|IMAGE")]
    to: String,
    /// Pictures, both ends counted
    #[arg(short = 'n', long = "count", default_value_t = 9, value_name = "N")]
    count: usize,
    /// Folder for the PNGs and the contact sheet
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Runs of the network in a step of the way back from a picture to its noise
    #[arg(long, default_value_t = 5, value_name = "K")]
    iterations: usize,
    /// Pictures at a time
    #[arg(long, default_value_t = 64, value_name = "N")]
    batch: usize,
    /// A class for all pictures, for a model that has classes
    #[arg(long, value_name = "CLASS")]
    class: Option<u32>,
    #[command(flatten)]
    sampling: SamplingFlags,
    #[command(flatten)]
    guidance: GuidanceFlags,
    #[command(flatten)]
    device: DeviceFlag,
}

/// More are a mistake.
const MOST_PICTURES: usize = 1000;
/// Pictures on a row of the sheet.
const IN_A_ROW: usize = 16;

impl Interpolate {
    pub(super) fn run(&self) -> Result<ExitCode> {
        if !(2..=MOST_PICTURES).contains(&self.count) {
            return Err(Error::input(format!("-n is {}, expected 2 to {MOST_PICTURES}", self.count)));
        }
        if self.batch == 0 {
            return Err(Error::input("--batch is 0, expected at least 1"));
        }
        let record = Record::path(&self.out);
        if record.exists() {
            let record = record.display();
            return Err(Error::input(format!("{record}: these are pictures of `sample`; expected another --out")));
        }
        let mut model = read_model(&self.model)?;
        self.guidance.name_class(&mut model.unet)?;
        let config = model.unet.config().clone();
        let size = picture_size(&model, None, &self.model)?;
        let guidance = self.guidance.guidance()?;
        guidance.check_network(&config)?;
        let way = self.sampling.way_without_noise(&model.scheduler, guidance)?;
        let labels = match (config.classes(), self.class) {
            (Some(classes), None) => {
                return Err(Error::input(format!(
                    "the model has {classes} classes, expected --class with one of them"
                )));
            }
            (_, class) => class,
        };
        let of = |count: usize| labels.map(|class| vec![class; count]);
        let shape = [size[0], size[1], config.in_channels];
        Request { count: 1, labels: of(1), ..Request::default() }.labels_for(&config)?;

        let mut device = self.device.open()?;
        let mut end = |end: &str| -> Result<Vec<f32>> {
            let elements = shape.iter().product();
            if let Ok(seed) = end.parse() {
                return Ok(flow::noise(&Request { seed, ..Request::default() }, 0, elements));
            }
            let picture = Dataset::open_picture(Path::new(end), shape, Fit::Crop)?;
            let mut state = vec![0.0; elements];
            picture.picture(0, false, &mut state);
            let request = Request { count: 1, labels: of(1), initial_noise: Some(state), ..Request::default() };
            self.noise_of(&model, &way, &mut *device, &request, size)
        };
        let [from, to] = [end(&self.from)?, end(&self.to)?];
        let part = |index: usize| index as f64 / (self.count - 1) as f64;
        let noise = (0..self.count).flat_map(|index| slerp(&from, &to, part(index))).collect();
        let request =
            Request { count: self.count, labels: of(self.count), initial_noise: Some(noise), ..Request::default() };
        let drawn = match way {
            Way::Flow(along, tolerance) => {
                let to_pictures = (Direction::ToPictures, tolerance);
                flow::follow(&model, &along, &mut *device, &self.device, &request, self.batch, size, to_pictures)?
            }
            Way::Chain(chain) => draw(&model, chain, &mut *device, &self.device, &request, self.batch, size)?,
        };
        self.write(&Pictures::new(&drawn, self.count, shape)?)?;
        Ok(ExitCode::SUCCESS)
    }

    /// Writes the pictures, and a sheet on which they lie in rows.
    fn write(&self, pictures: &Pictures) -> Result<()> {
        let out = &self.out;
        std::fs::create_dir_all(out).map_err(Error::io(out))?;
        let digits = (self.count - 1).to_string().len().max(4);
        for index in 0..self.count {
            pictures.save_png(&out.join(format!("{index:0digits$}.png")), index)?;
        }
        let sheet = out.join("sheet.png");
        save_png(&sheet, &pictures.contact_sheet(IN_A_ROW, None)?.into())?;
        say!("{} pictures and {}", self.count, sheet.display());
        Ok(())
    }

    /// The noise of a request's picture, by the way back of this way.
    fn noise_of(
        &self,
        model: &ModelFolder,
        way: &Way,
        device: &mut dyn Device,
        request: &Request,
        size: [usize; 2],
    ) -> Result<Vec<f32>> {
        let back = self.sampling.way_back(&model.scheduler, self.guidance.guidance()?, self.iterations)?;
        let deviation = if let Way::Chain(chain) = way { chain.initial_deviation() } else { 1.0 };
        find_noise(model, (back, deviation), device, &self.device, request, self.batch, size)
    }
}
