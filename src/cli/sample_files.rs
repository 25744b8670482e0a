//! The flags of `sample` for files beside the PNGs.

use super::sample_job::Job;
use super::sample_output::Output;
use super::sample_path::{MOST_PICTURES as MOST_ON_PATH, PathFile};
use crate::atomic_file;
use crate::data::is_named;
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// Files beside the PNGs.
#[derive(clap::Args)]
#[command(next_help_heading = "Output")]
pub(super) struct FileFlags {
    /// Writes the pictures as floats to a safetensors file: tensor `sample` [N, C, H, W] in [-1, 1]
    #[arg(long, value_name = "FILE")]
    tensors: Option<PathBuf>,
    /// Writes the pictures as bytes to a NumPy archive: array `arr_0` [N, H, W, C], which FID scripts read
    #[arg(long, value_name = "FILE")]
    npz: Option<PathBuf>,
    /// Shows x_t from noise to picture: an animation, .gif or .png, of at most 100 frames, or .safetensors, tensor `path`
    /// [stages + 1, N, C, H, W]; in the scale that the network takes
    #[arg(long, value_name = "FILE")]
    path: Option<PathBuf>,
    /// Shows the x_0 that every stage predicts, guided and clipped, as --path does; tensor `path` [stages, N, C, H, W]
    #[arg(long, value_name = "FILE")]
    pub(super) x0_path: Option<PathBuf>,
    /// Pictures of --path and --x0-path, the first ones, 1 to 64
    #[arg(long, default_value_t = 16, value_name = "N")]
    path_pictures: usize,
    /// Leaves the pictures' numbers and classes off the sheet
    #[arg(long)]
    pub(super) no_labels: bool,
}

impl FileFlags {
    fn all(&self) -> [(&'static str, &Option<PathBuf>); 4] {
        [("--tensors", &self.tensors), ("--npz", &self.npz), ("--path", &self.path), ("--x0-path", &self.x0_path)]
    }

    /// Refuses files that could not be written, or that are something else's, before the work.
    pub(super) fn check(&self, out: &Path, model: &Path) -> Result<()> {
        let given: Vec<_> = self.all().into_iter().filter_map(|(flag, file)| Some((flag, file.as_deref()?))).collect();
        for (number, (flag, file)) in given.iter().enumerate() {
            if let Some((other, _)) = given[..number].iter().find(|(_, other)| resolved(other) == resolved(file)) {
                let file = file.display();
                return Err(Error::input(format!("{other} and {flag} are both {file}, expected a file for each")));
            }
        }
        let (pictures, model) = (resolved(out), resolved(model));
        for &(flag, file) in &given {
            let at = resolved(file);
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let is_picture =
                name.strip_suffix(".png").is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
            let is_own = is_picture || name.starts_with("sampling") || is_named(file, "sheet", "png");
            if at.parent() == Some(&*pictures) && is_own {
                let file = file.display();
                return Err(Error::input(format!(
                    "{flag} {file}: what --out has under this name; expected another name"
                )));
            }
            let of_model = at == model || at.starts_with(model.join("unet")) || name.starts_with("training_state");
            if at.starts_with(&model) && (of_model || name.starts_with("diffusion_pytorch_model")) {
                let file = file.display();
                return Err(Error::input(format!("{flag} {file}: is a part of the model; expected another name")));
            }
            if flag.ends_with("path") {
                PathFile::check_name(flag, file)?;
            }
            // The pictures' folder may not be there yet.
            if file.parent() != Some(out) || out.exists() {
                atomic_file::check(file)?;
            }
        }
        if !(1..=MOST_ON_PATH).contains(&self.path_pictures) {
            let found = self.path_pictures;
            return Err(Error::input(format!("--path-pictures is {found}, expected 1 to {MOST_ON_PATH}")));
        }
        Ok(())
    }

    /// Says what is to be written of a job.
    pub(super) fn ask(&self, output: &mut Output, job: &Job, stages: Option<usize>) -> Result<()> {
        let named = |file: &Option<PathBuf>| file.as_deref().map(|file| job.file(file));
        output.tensors = named(&self.tensors);
        output.npz = named(&self.npz);
        let first = job.range.start..job.range.end.min(job.range.start + self.path_pictures);
        for (file, predicted) in [(&self.path, false), (&self.x0_path, true)] {
            let Some(file) = named(file) else { continue };
            let Some(stages) = stages else {
                return Err(Error::input("rk45 takes steps of its own for every picture; expected no --path with it"));
            };
            output.paths.push(PathFile::new(&file, predicted, stages, first.clone()));
        }
        Ok(())
    }
}

/// A file's path, by which it is known whether it is there or not.
pub(super) fn resolved(file: &Path) -> PathBuf {
    let whole = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
    let folder = whole.parent().and_then(|folder| folder.canonicalize().ok());
    let beside = folder.zip(whole.file_name()).map(|(folder, name)| folder.join(name));
    whole.canonicalize().ok().or(beside).unwrap_or(whole)
}
