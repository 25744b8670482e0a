//! A folder of PNG and JPEG pictures.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use walkdir::{DirEntry, WalkDir};

use super::decode::{self, Header};
use super::fit::{check_side, square, zeros};
use super::{Dataset, Options};
use crate::error::{Error, Result};

/// How many pictures are decoded between two reports of progress.
const BATCH: usize = 256;

/// Whether it is what `sample` writes beside its pictures, a `sheet.png` or a shard's `sheet-I-of-N.png`: no picture of its
/// own, unless there is no other one.
fn is_sheet(path: &Path) -> bool {
    is_named(path, "sheet", "png")
}

/// Whether a file is called `stem.ending`, or `stem-I-of-N.ending` as those of a shard.
pub(crate) fn is_named(path: &Path, stem: &str, ending: &str) -> bool {
    let rest = path.file_stem().and_then(OsStr::to_str).and_then(|name| name.strip_prefix(stem));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let of_shard = |rest: &str| {
        let numbers = rest.strip_prefix('-').and_then(|rest| rest.split_once("-of-"));
        numbers.is_some_and(|(index, of)| is_number(index) && is_number(of))
    };
    path.extension().is_some_and(|found| found == ending) && rest.is_some_and(|rest| rest.is_empty() || of_shard(rest))
}

/// Whether the name ends as those of PNG and JPEG files do.
pub(super) fn is_picture(path: &Path) -> bool {
    path.extension()
        .and_then(OsStr::to_str)
        .is_some_and(|ending| ["png", "jpg", "jpeg"].iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

pub(super) fn open(
    folder: &Path,
    name: String,
    options: &Options,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Dataset> {
    let paths = pictures_in(folder)?;
    let headers = in_parallel(&paths, decode::header)?;
    let [height, width] = match options.image_size {
        Some(side) => [check_side(side, options.multiple_of)?; 2],
        None => size_as_is(folder, &paths, &headers, options.multiple_of)?,
    };
    let grey = options.grayscale.unwrap_or_else(|| headers.iter().all(|header| header.grey));
    let channels = if grey { 1 } else { 3 };
    drop(headers);

    let mut pixels = zeros(&name, paths.len(), [height, width, channels])?;
    let size = height * width * channels;
    let mut done = 0;
    for (paths_now, pixels) in paths.chunks(BATCH).zip(pixels.chunks_mut(BATCH * size)) {
        let work: Vec<_> = paths_now.iter().zip(pixels.chunks_exact_mut(size)).collect();
        let results: Vec<Result<()>> = work
            .into_par_iter()
            .map(|(path, out)| {
                if options.image_size.is_none() {
                    let bytes = if grey { decode::grey(path)?.into_raw() } else { decode::colour(path)?.into_raw() };
                    if bytes.len() != out.len() {
                        return Err(Error::input(format!("{}: changed while it was read", path.display())));
                    }
                    out.copy_from_slice(&bytes);
                } else if grey {
                    square(decode::grey(path)?, height, options.fit, out);
                } else {
                    square(decode::colour(path)?, height, options.fit, out);
                }
                Ok(())
            })
            .collect();
        results.into_iter().collect::<Result<()>>()?;
        done += paths_now.len();
        progress(done, paths.len());
    }
    let (labels, class_names) = classes(folder, &paths).unzip();
    Dataset::from_bytes(name, [height, width, channels], pixels, labels, class_names.unwrap_or_default())
}

/// All the pictures below `folder` in the order of their paths.
fn pictures_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let hidden = |entry: &DirEntry| entry.depth() > 0 && entry.file_name().as_encoded_bytes().starts_with(b".");
    let mut paths = Vec::new();
    let mut others = 0;
    for entry in WalkDir::new(folder).follow_links(true).into_iter().filter_entry(|entry| !hidden(entry)) {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(folder).to_path_buf();
            match error.into_io_error() {
                Some(source) => Error::Io { path, source },
                None => Error::input(format!("{}: a link that leads back to a folder around it", path.display())),
            }
        })?;
        if !entry.file_type().is_file() {
            continue;
        }
        if is_picture(entry.path()) {
            paths.push(entry.into_path());
        } else {
            others += 1;
        }
    }
    if paths.is_empty() {
        return Err(Error::input(format!(
            "{}: no pictures ({others} other files), expected .png, .jpg or .jpeg, or IDX files (*-images-idx3-ubyte)",
            folder.display()
        )));
    }
    let is_own = |path: &PathBuf| !(path.parent() == Some(folder) && is_sheet(path));
    if paths.iter().any(is_own) {
        paths.retain(is_own);
    }
    paths.sort();
    Ok(paths)
}

/// `work` on every path; of several errors the first in the order of the paths, so that a run repeats.
fn in_parallel<T: Send>(paths: &[PathBuf], work: impl Fn(&Path) -> Result<T> + Sync) -> Result<Vec<T>> {
    paths.par_iter().map(|path| work(path)).collect::<Vec<_>>().into_iter().collect()
}

/// `[height, width]` of pictures that all have one, which the model can take.
fn size_as_is(folder: &Path, paths: &[PathBuf], headers: &[Header], multiple_of: usize) -> Result<[usize; 2]> {
    let size = |header: &Header| (header.height, header.width);
    let (height, width) = headers.first().map(size).unwrap_or_default();
    if let Some((path, header)) = paths.iter().zip(headers).find(|(_, header)| size(header) != (height, width)) {
        return Err(Error::input(format!(
            "{}: {} x {} pixels (height x width), expected {height} x {width} as in {}; pass --image-size to bring \
             the pictures to one size",
            path.display(),
            header.height,
            header.width,
            paths[0].display(),
        )));
    }
    let step = multiple_of.max(1);
    let sides = [height as usize, width as usize];
    if sides.iter().any(|side| !side.is_multiple_of(step)) {
        return Err(Error::input(format!(
            "{}: pictures of {height} x {width} pixels, expected multiples of {step}; pass --image-size {}",
            folder.display(),
            sides[0].min(sides[1]).next_multiple_of(step)
        )));
    }
    Ok(sides)
}

/// The label of each picture and the names of the classes, if all the pictures lie in first-level subfolders and there
/// are at least two of those: one class tells nothing apart.
fn classes(folder: &Path, paths: &[PathBuf]) -> Option<(Vec<u32>, Vec<String>)> {
    let subfolders: Vec<&OsStr> = paths
        .iter()
        .map(|path| {
            let mut parts = path.strip_prefix(folder).ok()?.iter();
            let first = parts.next()?;
            parts.next().map(|_| first)
        })
        .collect::<Option<_>>()?;
    let names: Vec<&OsStr> = subfolders.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    if names.len() < 2 {
        return None;
    }
    let labels = subfolders.iter().map(|name| names.binary_search(name).unwrap_or_default() as u32).collect();
    Some((labels, names.iter().map(|name| name.to_string_lossy().into_owned()).collect()))
}

#[cfg(test)]
mod tests {
    use super::super::Fit;
    use super::*;
    use image::{GrayImage, Luma, Rgb, RgbImage};

    fn red(path: PathBuf, width: u32, height: u32, red: u8) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        RgbImage::from_pixel(width, height, Rgb([red, 0, 0])).save(path).unwrap();
    }

    fn open(folder: &Path, options: &Options) -> Result<Dataset> {
        Dataset::open(folder.to_str().unwrap(), options)
    }

    fn refusal(folder: &Path, options: &Options) -> String {
        let message = open(folder, options).unwrap_err().to_string();
        assert!(!message.contains('\n'), "{message}");
        message
    }

    #[test]
    fn subfolders_are_classes_unless_mixed_or_single() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        red(root.join("dogs/deep/1.PNG"), 4, 4, 30);
        assert_eq!(open(root, &Options::default()).unwrap().labels, None);
        red(root.join("cats/2.png"), 4, 4, 20);
        red(root.join("cats/1.png"), 4, 4, 10);
        std::fs::write(root.join("cats/.hidden.png"), b"x").unwrap();
        std::fs::create_dir(root.join(".git")).unwrap();
        std::fs::write(root.join(".git/x.png"), b"x").unwrap();
        std::fs::create_dir(root.join("empty")).unwrap();
        std::fs::write(root.join("notes.txt"), b"x").unwrap();
        let mut seen = Vec::new();
        let set = Dataset::open_with(root.to_str().unwrap(), &Options::default(), &mut |done, all| {
            seen.push((done, all));
        })
        .unwrap();
        assert_eq!((set.shape(), set.len(), seen), ([4, 4, 3], 3, vec![(3, 3)]));
        assert_eq!((0..3).map(|index| set.bytes(index)[0]).collect::<Vec<_>>(), [10, 20, 30]);
        assert_eq!((set.class_names, set.labels), (vec!["cats".into(), "dogs".into()], Some(vec![0, 0, 1])));
        red(root.join("stray.png"), 4, 4, 40);
        let set = open(root, &Options::default()).unwrap();
        assert_eq!((set.len(), set.labels.as_ref(), set.classes()), (4, None, 0));
    }

    #[test]
    fn sheets_are_no_pictures() {
        let sheet = |name: &str| is_sheet(Path::new(name));
        assert!(sheet("a/sheet.png") && sheet("sheet-2-of-8.png"));
        assert!(!sheet("sheet.jpg") && !sheet("sheet-a-of-8.png") && !sheet("sheets.png") && !sheet("my-sheet.png"));
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let open = |root: &Path| open(root, &Options::default()).unwrap().len();
        red(root.join("sheet-1-of-2.png"), 4, 4, 1);
        assert_eq!(open(root), 1);
        red(root.join("a.png"), 4, 4, 1);
        red(root.join("sheet.png"), 4, 4, 1);
        assert_eq!(open(root), 1);
    }

    #[test]
    fn sizes_and_colours() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        GrayImage::from_pixel(6, 6, Luma([50])).save(root.join("a.png")).unwrap();
        assert_eq!(open(root, &Options::default()).unwrap().shape(), [6, 6, 1]);
        let four = Options { multiple_of: 4, ..Options::default() };
        assert!(
            refusal(root, &four).ends_with("pictures of 6 x 6 pixels, expected multiples of 4; pass --image-size 8")
        );
        red(root.join("b.png"), 9, 5, 255);
        let message = refusal(root, &Options::default());
        assert!(message.contains("b.png: 5 x 9 pixels (height x width), expected 6 x 6 as in "), "{message}");
        for fit in [Fit::Crop, Fit::Pad] {
            let options = Options { image_size: Some(8), fit, multiple_of: 4, grayscale: None };
            assert_eq!(open(root, &options).unwrap().shape(), [8, 8, 3]);
            let options = Options { grayscale: Some(true), ..options };
            assert_eq!(open(root, &options).unwrap().shape(), [8, 8, 1]);
        }
    }

    #[test]
    fn no_pictures_or_a_corrupt_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::write(root.join("a.txt"), b"x").unwrap();
        assert!(refusal(root, &Options::default()).contains("no pictures (1 other files), expected .png"));
        red(root.join("a.png"), 4, 4, 1);
        std::fs::write(root.join("b.png"), b"not a picture").unwrap();
        assert!(refusal(root, &Options::default()).contains("b.png: cannot be decoded: "));
        let message = refusal(&root.join("a.png"), &Options::default());
        assert!(message.ends_with("a.png: one picture, expected the folder that holds the pictures"), "{message}");
    }

    #[cfg(unix)]
    #[test]
    fn an_unreadable_folder_and_a_circle_of_links_are_named() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        red(root.join("a.png"), 4, 4, 1);
        symlink(root, root.join("again")).unwrap();
        let message = refusal(root, &Options::default());
        assert!(message.contains("again: a link that leads back"), "{message}");
        std::fs::remove_file(root.join("again")).unwrap();

        let locked = root.join("locked");
        std::fs::create_dir(&locked).unwrap();
        std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o000)).unwrap();
        // The administrator may read everything.
        if locked.read_dir().is_err() {
            assert!(refusal(root, &Options::default()).contains("locked: "));
            assert!(refusal(&locked, &Options::default()).contains("locked: "));
        }
        std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o700)).unwrap();
    }
}
