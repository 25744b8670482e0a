//! `aquatint judge`

use super::class_labels::{labels_by_name, labels_of_list};
use super::device::DeviceFlag;
use super::output::say;
use super::progress::Progress;
use crate::atomic_file;
use crate::checkpoint::ClassifierFolder;
use crate::data::{Dataset, Fit, Options};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::metrics::{Gaussian, Judge as Classifier, Judged, frechet_distance};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Judges pictures with a classifier: whether they are of the class they should be of, and how far sets of them are apart
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  aquatint judge runs/judge --data digits:odd\n  \
    aquatint judge runs/judge --data drawn --labels 0,1,2,3,4,5,6,7,8,9 --against digits:even\n  \
    aquatint judge runs/judge --data samples.npz --labels labels.txt --against mnist/:test --json figures.json\n\n\
    The accuracy is the share of pictures that the classifier takes for what their label says. The Frechet distance is that \
    between Gaussians of the classifier's pooled features, those that its last layer reads, of the two sets (Heusel et al. \
    2017, who take an Inception network's): figures of different classifiers, or of different numbers of pictures, do not \
    compare.")]
pub(super) struct Judge {
    /// A folder that `aquatint train-classifier` wrote
    classifier: PathBuf,
    /// digits, IDX files, a folder of PNG or JPEG pictures, or an .npz archive; subfolders are classes, and a sheet.png is
    /// left out
    #[arg(long, value_name = "DATA")]
    data: String,
    /// The class of every picture, where the data has none of its own: classes with commas between them, taken in turn, or
    /// a file with one on each line
    #[arg(long, value_name = "LABELS")]
    labels: Option<String>,
    /// Pictures to take the Frechet distance to
    #[arg(long, value_name = "DATA")]
    against: Option<String>,
    /// At most so many pictures of each set, the first ones
    #[arg(short = 'n', long = "count", value_name = "N")]
    count: Option<usize>,
    /// How pictures of another size are brought to the classifier's
    #[arg(long, value_enum, default_value = "pad")]
    fit: Fit,
    /// Pictures at a time
    #[arg(long, default_value_t = 64, value_name = "N")]
    batch: usize,
    /// Writes the figures too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceFlag,
}

impl Judge {
    pub(super) fn run(&self) -> Result<ExitCode> {
        for (flag, value) in [("--batch", self.batch), ("-n", self.count.unwrap_or(1))] {
            if value == 0 {
                return Err(Error::input(format!("{flag} is 0, expected at least 1")));
            }
        }
        let folder = ClassifierFolder::read(&self.classifier)?;
        let pictures = self.open(&folder, &self.data)?;
        let labels = match &self.labels {
            Some(list) => Some(labels_of_list(list, pictures.len(), &folder.class_names)?),
            None => labels_by_name(&pictures, &folder.class_names)?,
        };
        let against = self.against.as_deref().map(|spec| self.open(&folder, spec)).transpose()?;
        let most = against.iter().map(Dataset::len).fold(pictures.len(), usize::max);
        let mut judge = Classifier::new(&folder, self.batch.min(most))?;
        let mut device = self.device.open()?;
        self.device.tune(&mut *device, |device, watch| judge.tune(device, watch))?;
        judge.load(&mut *device, &folder.weights)?;

        let judged = clean(&judge, &mut *device, &pictures)?;
        let (name, count) = (&self.data, pictures.len());
        let mut figures = json!({ "data": name, "pictures": count });
        let mut found = vec![0_usize; folder.class_names.len()];
        judged.classes.iter().for_each(|&class| found[class as usize] += 1);
        match &labels {
            Some(labels) => {
                let hits = judged.hits(labels);
                let accuracy = hits as f64 / count as f64;
                say!("accuracy {accuracy:.4}: {hits} of {count} pictures of {name}");
                figures["accuracy"] = accuracy.into();
                figures["hits"] = hits.into();
            }
            None => {
                let all: Vec<String> =
                    folder.class_names.iter().zip(&found).map(|(class, found)| format!("{class} {found}")).collect();
                say!("classes of {count} pictures of {name}: {}", all.join(", "));
            }
        }
        figures["classes"] = folder.class_names.iter().cloned().zip(found.iter().map(|&n| json!(n))).collect();
        if let (Some(other), Some(spec)) = (&against, &self.against) {
            let features = clean(&judge, &mut *device, other)?.features;
            let gaussian = |name: &str, features: &[f32]| Gaussian::of(name, features, judge.dim());
            let distance = frechet_distance(&gaussian(name, &judged.features)?, &gaussian(spec, &features)?)?;
            let others = other.len();
            say!("frechet distance {distance:.4} between {count} pictures of {name} and {others} of {spec}");
            figures["against"] = json!({ "data": spec, "pictures": others, "frechet_distance": distance });
        }
        if let Some(path) = &self.json {
            atomic_file::write(path, format!("{figures:#}\n").as_bytes())?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Pictures in the classifier's size and colours.
    fn open(&self, folder: &ClassifierFolder, spec: &str) -> Result<Dataset> {
        let [height, width] = folder.classifier.size();
        let image_size = (height == width).then_some(height);
        let grayscale = match folder.classifier.config().in_channels {
            1 => Some(true),
            3 => Some(false),
            _ => None,
        };
        let dataset = Dataset::open(spec, &Options { image_size, fit: self.fit, grayscale, multiple_of: 1 })?;
        let most = self.count.unwrap_or(usize::MAX);
        Ok(if most < dataset.len() { dataset.rows(|index| index < most) } else { dataset })
    }
}

/// What the classifier says of all pictures, with a progress bar.
fn clean(judge: &Classifier, device: &mut dyn Device, pictures: &Dataset) -> Result<Judged> {
    let mut progress = Progress::new("judging", 0, pictures.len());
    let judged = judge.clean(device, pictures, |done| progress.at(done, || "pictures".into()))?;
    progress.finish();
    Ok(judged)
}
