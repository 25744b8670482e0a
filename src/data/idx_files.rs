//! Which IDX files belong together, by MNIST's naming: `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`,
//! `t10k-images-idx3-ubyte` and so on, with or without `.gz`, with `-` or `.` before `idx`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::fit::Grey;
use super::idx;
use crate::error::{Error, Result};

/// Which pictures of a folder of IDX files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Those to train on, followed by those to test on.
    All,
    /// `train-images-*`.
    Train,
    /// `t10k-images-*` or `test-images-*`.
    Test,
}

/// The pictures of one IDX file, with the labels beside it if its name says where they would be and they are there.
pub(super) fn open_file(path: &Path) -> Result<Grey> {
    let ([count, height, width], pixels) = idx::read::<3>(path)?;
    let labels = labels_beside(path).map(|labels| read_labels(&labels, path, count)).transpose()?;
    Ok(Grey { height, width, pixels, labels })
}

/// The asked part of a folder of IDX files; `None` if the folder has no IDX file of pictures.
pub(super) fn open_folder(folder: &Path, part: Part) -> Result<Option<Grey>> {
    let sets = sets_in(folder)?;
    let first = |names: &[&str]| names.iter().find_map(|&name| sets.get(name));
    let (train, test) = (first(&["train"]), first(&["t10k", "test"]));
    let asked = match part {
        Part::All if train.is_none() && test.is_none() && sets.len() == 1 => sets.values().collect(),
        Part::All => train.into_iter().chain(test).collect(),
        Part::Train => Vec::from_iter(train),
        Part::Test => Vec::from_iter(test),
    };
    if sets.is_empty() {
        return Ok(None);
    }
    if asked.is_empty() {
        let names: Vec<String> = sets.values().map(|path| file_name(path)).collect();
        let expected = match part {
            Part::All => "train-images-* or t10k-images-*, or the spec to name one of them",
            Part::Train => "train-images-*",
            Part::Test => "t10k-images-* or test-images-*",
        };
        return Err(Error::input(format!(
            "{}: found IDX files {}, expected {expected}",
            folder.display(),
            names.join(", ")
        )));
    }

    let mut whole: Option<Grey> = None;
    for path in &asked {
        let next = open_file(path)?;
        let Some(first) = &mut whole else {
            whole = Some(next);
            continue;
        };
        if (first.height, first.width) != (next.height, next.width) {
            return Err(Error::input(format!(
                "{}: pictures of {} x {}, expected {} x {} as in {}",
                path.display(),
                next.height,
                next.width,
                first.height,
                first.width,
                file_name(asked[0])
            )));
        }
        first.labels = match (first.labels.take(), next.labels) {
            (Some(labels), Some(more)) => Some([labels, more].concat()),
            (None, None) => None,
            (found, _) => {
                let (with, without) = if found.is_some() { (asked[0], *path) } else { (*path, asked[0]) };
                return Err(Error::input(format!(
                    "{}: no labels file beside it, expected one as {} has; or open one part, FOLDER:train or \
                     FOLDER:test",
                    without.display(),
                    file_name(with)
                )));
            }
        };
        first.pixels.extend(next.pixels);
    }
    Ok(whole)
}

/// The IDX files of pictures in `folder` by what stands before `images` in their name: `train`, `t10k`. Where a file is
/// there both gzipped and not, the one that is not.
fn sets_in(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut paths = Vec::new();
    for entry in folder.read_dir().map_err(Error::io(folder))? {
        paths.push(entry.map_err(Error::io(folder))?.path());
    }
    // `x-ubyte` sorts before `x-ubyte.gz`, and the first is kept.
    paths.sort();
    let mut sets = BTreeMap::new();
    for path in paths {
        let name = file_name(&path);
        let plain = name.strip_suffix(".gz").unwrap_or(&name);
        if let Some((set, rest)) = plain.rsplit_once("images")
            && rest.contains("idx3")
            && !name.starts_with('.')
            && path.is_file()
        {
            sets.entry(set.trim_end_matches(['-', '_', '.']).to_string()).or_insert(path);
        }
    }
    Ok(sets)
}

/// Where the labels of the pictures at `images` are, if they are: the same name with `labels` for `images` and `idx1`
/// for `idx3`, gzipped or not.
fn labels_beside(images: &Path) -> Option<PathBuf> {
    let name = file_name(images);
    let plain = name.strip_suffix(".gz").unwrap_or(&name);
    let (set, rest) = plain.rsplit_once("images")?;
    let labels = format!("{set}labels{}", rest.replace("idx3", "idx1"));
    [labels.clone(), format!("{labels}.gz")].into_iter().map(|name| images.with_file_name(name)).find(|it| it.is_file())
}

fn read_labels(path: &Path, images: &Path, expected: usize) -> Result<Vec<u32>> {
    let ([count], labels) = idx::read::<1>(path)?;
    if count != expected {
        return Err(Error::input(format!(
            "{}: {count} labels, expected {expected}, one for each picture in {}",
            path.display(),
            file_name(images)
        )));
    }
    Ok(labels.into_iter().map(u32::from).collect())
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::{Dataset, Fit, Options};
    use super::*;

    fn write(folder: &Path, name: &str, sizes: &[u32], elements: &[u8]) {
        let mut bytes = vec![0, 0, 8, sizes.len() as u8];
        bytes.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
        bytes.extend(elements);
        std::fs::write(folder.join(name), bytes).unwrap();
    }

    fn mnist(separator: char) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let name = |set: &str, kind: &str| format!("{set}-{kind}-ubyte").replace("-idx", &format!("{separator}idx"));
        write(folder.path(), &name("train", "images-idx3"), &[3, 1, 2], &[1, 2, 3, 4, 5, 6]);
        write(folder.path(), &name("train", "labels-idx1"), &[3], &[0, 4, 1]);
        write(folder.path(), &name("t10k", "images-idx3"), &[1, 1, 2], &[7, 8]);
        write(folder.path(), &name("t10k", "labels-idx1"), &[1], &[2]);
        folder
    }

    fn open(spec: String) -> Result<Dataset> {
        Dataset::open(&spec, &Options::default())
    }

    #[test]
    fn a_folder_and_its_parts() {
        for separator in ['-', '.'] {
            let folder = mnist(separator);
            let root = folder.path().display();
            let all = open(format!("{root}")).unwrap();
            assert_eq!((all.len(), all.bytes(3), &all.labels), (4, &[7, 8][..], &Some(vec![0, 4, 1, 2])));
            assert_eq!((all.classes(), all.class_names[4].as_str(), all.shape()), (5, "4", [1, 2, 1]));
            let train = open(format!("{root}:train")).unwrap();
            assert_eq!((train.len(), &train.labels), (3, &Some(vec![0, 4, 1])));
            let test = open(format!("{root}:test")).unwrap();
            assert_eq!((test.len(), test.bytes(0), &test.labels), (1, &[7, 8][..], &Some(vec![2])));
            assert!(test.name.ends_with(":test"));
            let file = open(format!("{root}/train-images{separator}idx3-ubyte")).unwrap();
            assert_eq!(file.labels, train.labels);
        }
    }

    #[test]
    fn labels_that_do_not_match_are_named() {
        let folder = mnist('-');
        write(folder.path(), "train-labels-idx1-ubyte", &[2], &[0, 4]);
        let error = open(folder.path().display().to_string()).unwrap_err().to_string();
        assert!(
            error.ends_with(
                "train-labels-idx1-ubyte: 2 labels, expected 3, one for each picture in train-images-idx3-ubyte"
            ),
            "{error}"
        );
        std::fs::remove_file(folder.path().join("train-labels-idx1-ubyte")).unwrap();
        let error = open(folder.path().display().to_string()).unwrap_err().to_string();
        assert!(error.contains("train-images-idx3-ubyte: no labels file beside it"), "{error}");
        assert_eq!(open(format!("{}:train", folder.path().display())).unwrap().labels, None);
    }

    #[test]
    fn parts_of_two_sizes_are_refused() {
        let folder = mnist('-');
        write(folder.path(), "t10k-images-idx3-ubyte", &[1, 2, 2], &[7, 8, 9, 9]);
        let error = open(folder.path().display().to_string()).unwrap_err().to_string();
        assert!(error.contains("pictures of 2 x 2, expected 1 x 2 as in train-images-idx3-ubyte"), "{error}");
    }

    #[test]
    fn names_outside_the_convention() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().display();
        write(folder.path(), "letters-images-idx3-ubyte", &[1, 1, 2], &[7, 8]);
        assert_eq!(open(format!("{root}")).unwrap().len(), 1);
        assert!(open(format!("{root}:test")).unwrap_err().to_string().contains("expected t10k-images-*"));
        write(folder.path(), "more-images-idx3-ubyte", &[1, 1, 2], &[7, 8]);
        let error = open(format!("{root}")).unwrap_err().to_string();
        assert!(error.contains("found IDX files letters-images-idx3-ubyte, more-images-idx3-ubyte"), "{error}");
    }

    /// Needs Debian's dataset-fashion-mnist; says nothing where it is not installed.
    #[test]
    fn fashion_mnist() {
        let spec = "/usr/share/datasets/fashion-mnist";
        if !Path::new(spec).is_dir() {
            return;
        }
        let options = Options { image_size: Some(32), fit: Fit::Pad, multiple_of: 4, ..Options::default() };
        let before = std::time::Instant::now();
        let all = Dataset::open(spec, &options).unwrap();
        println!("opened {} pictures in {:?}", all.len(), before.elapsed());
        assert_eq!((all.len(), all.shape(), all.classes()), (70_000, [32, 32, 1], 10));
        assert_eq!(all.name, "fashion-mnist");
        let labels = all.labels.as_ref().unwrap();
        assert!((0..10).all(|class| labels.iter().filter(|&&label| label == class).count() == 7_000));
        assert!(all.bytes(0)[..64].iter().all(|&value| value == 0));
    }
}
