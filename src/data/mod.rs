//! Pictures: the built-in digits, IDX files (MNIST and its relatives), folders of PNG or JPEG pictures, NumPy archives.

mod decode;
mod digits;
mod fit;
mod folder;
mod idx;
mod idx_files;
mod npz;
mod one_picture;
mod source;

pub use fit::Fit;
pub(crate) use folder::is_named;
pub use source::BUILT_IN;

use crate::error::{Error, Result};

/// Pictures of one size, held in memory as bytes, with their class labels where there are any.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Rows of pixels in a picture.
    pub height: usize,
    /// Columns of pixels in a picture.
    pub width: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// N x height x width x channels, 0..=255.
    pixels: Vec<u8>,
    /// One class per picture, each below [`classes`](Self::classes); `None` for unlabelled pictures.
    pub labels: Option<Vec<u32>>,
    /// The classes' names by label; empty for unlabelled pictures.
    pub class_names: Vec<String>,
    /// What to call the data set in messages and records, e.g. `digits:even` or `fashion-mnist`.
    pub name: String,
}

/// How pictures are brought to size and colour when a data set is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The side, in pixels, of the square pictures to make. `None` keeps the size: pictures of IDX files and the
    /// digits are then padded with 0 up to a multiple of `multiple_of` on each side; a folder's pictures must agree in
    /// size and fit `multiple_of` as they are.
    pub image_size: Option<usize>,
    /// How a picture is brought to `image_size`; of no effect without it.
    pub fit: Fit,
    /// `Some(true)` for 1 channel, `Some(false)` for 3, `None` for 1 where every picture is stored as grey, else 3.
    pub grayscale: Option<bool>,
    /// What height and width must divide by: 2^(levels - 1) for a U-Net of so many levels. 0 and 1 ask for nothing.
    pub multiple_of: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { image_size: None, fit: Fit::Crop, grayscale: None, multiple_of: 1 }
    }
}

impl Dataset {
    /// Opens the data set that `spec` names: `digits`, `digits:even` or `digits:odd` (built in; even and odd rows
    /// counting from 0); an IDX images file, gzipped or not, with its labels beside it if they are there; a folder of
    /// IDX files in MNIST's naming, all of it or, as `FOLDER:train` and `FOLDER:test`, one part; an `.npz` archive of
    /// `arr_0`, bytes [N, H, W, C], and labels in `arr_1`; or a folder of PNG and JPEG pictures, searched with its
    /// subfolders, hidden files and sheets in it, as `sample` writes them beside its pictures, left out. Where all the pictures lie in two or
    /// more first-level subfolders, those, in sorted order, are the classes.
    ///
    /// A folder that happens to be called `digits` is reached as `./digits`.
    ///
    /// # Errors
    /// One line naming the file or folder: not found, unreadable, truncated, not what its header says, no pictures,
    /// or sizes that do not fit `options`.
    pub fn open(spec: &str, options: &Options) -> Result<Self> {
        Self::open_with(spec, options, &mut |_, _| {})
    }

    /// As [`open`](Self::open), calling `progress(done, total)` now and then while a folder's pictures are decoded.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(spec: &str, options: &Options, progress: &mut dyn FnMut(usize, usize)) -> Result<Self> {
        source::open(spec, options, progress)
    }

    /// A data set from bytes in memory: `pixels` is N x height x width x channels in 0..=255, and `class_names` has a
    /// name for every label.
    ///
    /// # Errors
    /// Where the parts do not fit each other, or there is not one picture.
    pub fn from_bytes(
        name: impl Into<String>,
        [height, width, channels]: [usize; 3],
        pixels: Vec<u8>,
        labels: Option<Vec<u32>>,
        class_names: Vec<String>,
    ) -> Result<Self> {
        let name = name.into();
        if channels != 1 && channels != 3 {
            return Err(Error::input(format!("{name}: {channels} channels, expected 1 (grey) or 3 (colour)")));
        }
        let size = height.checked_mul(width).and_then(|area| area.checked_mul(channels)).unwrap_or(0);
        if size == 0 || pixels.is_empty() || !pixels.len().is_multiple_of(size) {
            return Err(Error::input(format!(
                "{name}: {} bytes, expected one or more pictures of {height} x {width} x {channels}",
                pixels.len()
            )));
        }
        if let Some(labels) = &labels {
            let count = pixels.len() / size;
            if labels.len() != count {
                return Err(Error::input(format!("{name}: {} labels for {count} pictures", labels.len())));
            }
            if let Some(label) = labels.iter().find(|&&label| label as usize >= class_names.len()) {
                return Err(Error::input(format!(
                    "{name}: label {label}, expected below {} (the number of classes)",
                    class_names.len()
                )));
            }
        }
        Ok(Self { height, width, channels, pixels, labels, class_names, name })
    }

    /// Number and CRC-32 of the pictures and labels: two data sets that differ are told apart by it.
    pub fn fingerprint(&self) -> String {
        let mut crc = flate2::Crc::new();
        crc.update(&self.pixels);
        self.labels.iter().flatten().for_each(|label| crc.update(&label.to_le_bytes()));
        format!("{} pictures, crc {:08x}", self.len(), crc.sum())
    }

    /// How many pictures there are; at least 1 when it comes from [`open`](Self::open).
    pub fn len(&self) -> usize {
        self.pixels.len() / self.picture_len()
    }

    /// Whether there is no picture, as after [`rows`](Self::rows) kept none.
    pub fn is_empty(&self) -> bool {
        self.pixels.is_empty()
    }

    /// `[height, width, channels]` of one picture.
    pub fn shape(&self) -> [usize; 3] {
        [self.height, self.width, self.channels]
    }

    /// How many numbers one picture has: height x width x channels.
    pub fn picture_len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// How many classes the labels tell apart; 0 for unlabelled pictures. [`rows`](Self::rows) keeps it.
    pub fn classes(&self) -> usize {
        self.class_names.len()
    }

    /// The bytes of picture `index`, height x width x channels in 0..=255.
    ///
    /// # Panics
    /// If `index` is not below [`len`](Self::len).
    pub fn bytes(&self, index: usize) -> &[u8] {
        let size = self.picture_len();
        &self.pixels[index * size..][..size]
    }

    /// Writes picture `index` to `out` as height x width x channels in [-1, 1] (byte / 127.5 - 1), mirrored left to
    /// right if `flip`.
    ///
    /// # Panics
    /// If `index` is not below [`len`](Self::len), or `out` is not [`picture_len`](Self::picture_len) long.
    pub fn picture(&self, index: usize, flip: bool, out: &mut [f32]) {
        let bytes = self.bytes(index);
        assert_eq!(out.len(), bytes.len(), "room for a picture of {:?}", self.shape());
        let value = |byte: u8| f32::from(byte) / 127.5 - 1.0;
        if !flip {
            out.iter_mut().zip(bytes).for_each(|(out, &byte)| *out = value(byte));
            return;
        }
        let row = self.width * self.channels;
        for (out, bytes) in out.chunks_exact_mut(row).zip(bytes.chunks_exact(row)) {
            let mirrored = bytes.chunks_exact(self.channels).rev();
            for (out, pixel) in out.chunks_exact_mut(self.channels).zip(mirrored) {
                out.iter_mut().zip(pixel).for_each(|(out, &byte)| *out = value(byte));
            }
        }
    }

    /// The pictures, in their order, whose index `keep` accepts; class names stay as they are, so that a part has the
    /// labels of the whole.
    pub fn rows(&self, keep: impl Fn(usize) -> bool) -> Self {
        let kept: Vec<usize> = (0..self.len()).filter(|&index| keep(index)).collect();
        Self {
            pixels: kept.iter().flat_map(|&index| self.bytes(index)).copied().collect(),
            labels: self.labels.as_ref().map(|labels| kept.iter().map(|&index| labels[index]).collect()),
            class_names: self.class_names.clone(),
            name: self.name.clone(),
            ..*self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Dataset {
        let pixels = vec![0, 51, 102, 153, 204, 255, 255, 0, 255, 0, 255, 0];
        Dataset::from_bytes("two", [1, 2, 3], pixels, Some(vec![1, 0]), vec!["a".into(), "b".into()]).unwrap()
    }

    #[test]
    fn a_picture_is_in_range_and_mirrors() {
        let set = two();
        assert_eq!((set.len(), set.shape(), set.classes()), (2, [1, 2, 3], 2));
        let mut out = [0.0; 6];
        set.picture(0, false, &mut out);
        for (found, expected) in out.iter().zip([-1.0, -0.6, -0.2, 0.2, 0.6, 1.0]) {
            assert!((found - expected).abs() < 1e-6, "{out:?}");
        }
        assert_eq!((out[0], out[5]), (-1.0, 1.0));
        let plain = out;
        set.picture(0, true, &mut out);
        assert_eq!(out, [plain[3], plain[4], plain[5], plain[0], plain[1], plain[2]]);
    }

    #[test]
    fn rows_keeps_labels_with_their_pictures() {
        let odd = two().rows(|index| index % 2 == 1);
        assert_eq!((odd.len(), odd.labels.clone(), odd.classes()), (1, Some(vec![0]), 2));
        assert_eq!(odd.bytes(0), [255, 0, 255, 0, 255, 0]);
        let none = two().rows(|_| false);
        assert!(none.is_empty() && none.shape() == [1, 2, 3]);
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let refuse = |shape, bytes: usize, labels: Option<Vec<u32>>| {
            Dataset::from_bytes("x", shape, vec![0; bytes], labels, vec!["a".into()]).unwrap_err().to_string()
        };
        assert_eq!(refuse([1, 1, 2], 2, None), "x: 2 channels, expected 1 (grey) or 3 (colour)");
        assert!(refuse([2, 2, 1], 5, None).contains("5 bytes"));
        assert!(refuse([2, 2, 1], 0, None).contains("0 bytes"));
        assert!(refuse([usize::MAX, 2, 1], 5, None).contains("5 bytes"));
        assert_eq!(refuse([1, 1, 1], 2, Some(vec![0])), "x: 1 labels for 2 pictures");
        assert!(refuse([1, 1, 1], 2, Some(vec![0, 1])).contains("label 1, expected below 1"));
    }
}
