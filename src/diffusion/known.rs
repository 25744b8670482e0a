//! Drawing pictures of which a part is known: after every stage the known part, noised as far as x is, takes the place of
//! what was drawn (Song et al. 2021, appendix I.2; Lugmayr et al. 2022, algorithm 1).

use super::Chain;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::kernels::known_part::{Projection, known_part};
use crate::plan::{Plan, Recorder, Storage};

/// What is known of the pictures that are asked for.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// `[count, H, W, C]` in [-1, 1]. Of means, and of what is grey, any pictures that have them.
    pub pictures: Vec<f32>,
    /// `[count, H, W]`: 1 where a pixel counts, 0 where it is drawn.
    pub mask: Vec<f32>,
}

/// What a sampler needs for it on a device.
pub(super) struct KnownPart {
    pub(super) plan: Plan,
    levels: Storage,
    pictures: Storage,
    mask: Storage,
    /// Elements of a picture, and pixels.
    sizes: [usize; 2],
    /// Signal and noise after every stage.
    after: Vec<Option<[f64; 2]>>,
}

impl KnownPart {
    /// Records it for x `[batch, height, width, channels]`.
    pub(super) fn new(projection: Projection, chain: &Chain, x: &Storage, shape: [usize; 4]) -> Result<Self> {
        let [batch, height, width, channels] = shape;
        let after = chain.levels_after();
        let levels = Storage::f32("levels", 2 * after.len());
        let pictures = Storage::f32("known pictures", x.len());
        let mask = Storage::f32("mask", batch * height * width);
        let mut r = Recorder::new();
        let values = [
            r.input(&levels, &[after.len(), 2]),
            r.input(&pictures, &shape),
            r.input(&mask, &shape[..3]),
            r.input(x, &shape),
        ];
        known_part(&mut r, projection, values)?;
        let sizes = [height * width * channels, height * width];
        Ok(Self { plan: r.finish(), levels, pictures, mask, sizes, after })
    }

    /// Whether what is known fits so many pictures.
    pub(super) fn check(&self, known: Option<&Known>, count: usize) -> Result<()> {
        let found = known.map_or([0, 0], |known| [known.pictures.len(), known.mask.len()]);
        let expected = self.sizes.map(|size| size.checked_mul(count));
        if known.is_some_and(|_| expected == found.map(Some)) {
            return Ok(());
        }
        let [numbers, pixels] = found;
        Err(Error::input(format!(
            "what is known has {numbers} numbers and a mask of {pixels}, expected {count} pictures of {} and {}",
            self.sizes[0], self.sizes[1]
        )))
    }

    /// Uploads the levels of all stages, once.
    pub(super) fn upload_levels(&self, device: &mut dyn Device) -> Result<()> {
        let levels: Vec<f32> =
            self.after.iter().flat_map(|level| level.unwrap_or_default().map(|n| n as f32)).collect();
        device.upload(&self.levels, 0, &levels)
    }

    /// Uploads what is known of a batch.
    pub(super) fn upload(&self, device: &mut dyn Device, known: &Known, first: usize, count: usize) -> Result<()> {
        let [elements, pixels] = self.sizes;
        device.upload(&self.pictures, 0, &known.pictures[first * elements..][..count * elements])?;
        device.upload(&self.mask, 0, &known.mask[first * pixels..][..count * pixels])
    }

    /// Whether the known part is put in after a stage.
    pub(super) fn follows(&self, stage: usize) -> bool {
        self.after[stage].is_some()
    }
}
