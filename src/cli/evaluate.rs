//! `aquatint eval --real`: improved precision and recall in pixels, and copying.

use super::device::DeviceFlag;
use super::drawer::draw;
use super::eval::Shared;
use super::model::read_model;
use super::output::say;
use super::sample::picture_size;
use crate::checkpoint::Tensors;
use crate::data::{Dataset, Options};
use crate::diffusion::{Chain, ChainOptions, Request};
use crate::error::{Error, Result};
use crate::metrics::{median, nearest_distances, precision_recall};
use crate::nn::TensorSource;
use std::path::Path;
use std::process::ExitCode;

/// What precision and recall are asked with.
#[derive(clap::Args)]
#[command(next_help_heading = "Precision and recall")]
pub(super) struct PrecisionFlags {
    /// Real pictures that the model has not seen
    #[arg(long, value_name = "DATA")]
    pub(super) real: Option<String>,
    /// The pictures that it was trained on
    #[arg(long, value_name = "DATA", requires = "real", conflicts_with_all = ["bpd", "ode"])]
    train: Option<String>,
    /// Pictures to draw, and real ones to compare with
    #[arg(short = 'n', long = "count", default_value_t = 898, value_name = "N", requires = "real", conflicts_with_all = ["bpd", "ode"])]
    count: usize,
    /// Neighbours that make the balls
    #[arg(short = 'k', long, default_value_t = 3, value_name = "K", requires = "real", conflicts_with_all = ["bpd", "ode"])]
    neighbours: usize,
    /// Sampling steps
    #[arg(long, default_value_t = 100, value_name = "K", requires = "real", conflicts_with_all = ["bpd", "ode"])]
    steps: usize,
}

/// How good drawn pictures are.
pub(super) struct Figures {
    pub(super) precision: f64,
    pub(super) recall: f64,
    /// Median distance to the nearest training picture: (of a drawn picture, of a held-out real one).
    pub(super) nearest: Option<(f64, f64)>,
}

impl Figures {
    /// Measures `drawn` against `real` and, where given, the training pictures; all rows of `dim` numbers.
    pub(super) fn measure(drawn: &[f32], real: &[f32], train: Option<&[f32]>, dim: usize, k: usize) -> Result<Self> {
        let both = precision_recall(real, drawn, dim, k)?;
        let to_train = |pictures: &[f32], train: &[f32]| -> Result<f64> {
            Ok(median(&nearest_distances(pictures, train, dim)?).unwrap_or(f64::NAN))
        };
        let nearest = match train {
            Some(train) => Some((to_train(drawn, train)?, to_train(real, train)?)),
            None => None,
        };
        Ok(Self { precision: both.precision, recall: both.recall, nearest })
    }

    /// Prints them.
    pub(super) fn print(&self, real: &str, train: &str) {
        say!("precision {:.3}, recall {:.3} against {real}", self.precision, self.recall);
        if let Some((drawn, held_out)) = self.nearest {
            say!("median distance to the nearest picture of {train}: drawn {drawn:.2}, {real} {held_out:.2}");
        }
    }
}

/// Every picture of a data set, at most `limit`, as rows of floats.
pub(super) fn rows(dataset: &Dataset, limit: usize) -> Vec<f32> {
    let picture = dataset.picture_len();
    let count = dataset.len().min(limit);
    let mut rows = vec![0.0; count * picture];
    rows.chunks_exact_mut(picture).enumerate().for_each(|(index, row)| dataset.picture(index, false, row));
    rows
}

impl PrecisionFlags {
    pub(super) fn run(&self, model: &Path, real: &str, shared: &Shared, flag: &DeviceFlag) -> Result<ExitCode> {
        if self.count <= self.neighbours || self.neighbours == 0 {
            let (n, k) = (self.count, self.neighbours);
            return Err(Error::input(format!("-n {n} and -k {k}, expected k of at least 1 and more pictures than k")));
        }
        let (drawn, [height, width, channels]) = self.drawn(model, shared, flag)?;
        let open = |spec: &str| -> Result<Dataset> {
            let size = (height == width).then_some(height);
            let options =
                Options { image_size: size, fit: shared.fit(model), grayscale: Some(channels == 1), multiple_of: 1 };
            let dataset = Dataset::open(spec, &options)?;
            if dataset.shape() != [height, width, channels] {
                let found = dataset.shape();
                return Err(Error::input(format!(
                    "{spec}: pictures of {found:?}, drawn are {:?}",
                    [height, width, channels]
                )));
            }
            Ok(dataset)
        };
        let all = open(real)?;
        let train = self.train.as_deref().map(open).transpose()?.map(|train| rows(&train, usize::MAX));
        let dim = height * width * channels;
        let figures = Figures::measure(&drawn, &rows(&all, self.count), train.as_deref(), dim, self.neighbours)?;
        figures.print(real, self.train.as_deref().unwrap_or_default());
        Ok(ExitCode::SUCCESS)
    }

    /// The pictures to judge, NHWC, and a picture's shape.
    fn drawn(&self, path: &Path, shared: &Shared, flag: &DeviceFlag) -> Result<(Vec<f32>, [usize; 3])> {
        if path.is_file() {
            let file = Tensors::open(path)?;
            let shape = file.sizes("sample")?;
            let &[n, c, h, w] = shape else {
                let path = path.display();
                return Err(Error::input(format!("{path}: tensor sample has shape {shape:?}, expected [N, C, H, W]")));
            };
            return Ok((super::sample::to_nhwc(&file.read("sample")?, [n, c, h, w]), [h, w, c]));
        }
        let model = read_model(path)?;
        let size = picture_size(&model, None, path)?;
        let request = Request { count: self.count, seed: shared.seed, ..Request::default() };
        let chain = Chain::new(&model.scheduler, ChainOptions { steps: Some(self.steps), ..ChainOptions::default() })?;
        let drawn = draw(&model, chain, &mut *flag.open()?, flag, &request, shared.batch, size)?;
        Ok((drawn, [size[0], size[1], model.unet.config().in_channels]))
    }
}
