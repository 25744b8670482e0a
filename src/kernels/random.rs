//! Random numbers as pure functions of a key and a counter (Salmon et al. 2011): nothing is stateful, so a run can be
//! resumed, cut into other batches or shared out and draws the same numbers.

use super::Case;
use super::Fill;
use crate::error::Result;
use crate::plan::{Binding, Bindings, Element, Kernel, Real, Recorder, Shader, Step, Twin, Value, elementwise, shader};

/// What a picture's numbers are drawn for. Each has a stream of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A parameter's first value ("picture" is the parameter's number).
    Initialization = 1,
    /// The timestep of a picture in a training batch.
    TrainingTimestep = 2,
    /// The noise of a picture in a training batch.
    TrainingNoise = 3,
    /// x_T of a sampled picture.
    InitialNoise = 4,
    /// The noise of a sampler's steps.
    ReverseNoise = 5,
    /// The order of the pictures in an epoch.
    Order = 6,
    /// Whether a picture is mirrored.
    Flip = 7,
    /// Inputs of the kernels' test cases.
    TestData = 8,
    /// The elements that dropout keeps; the layer's number is in the bits above the lowest eight.
    Dropout = 9,
    /// The noise of a picture whose likelihood is asked for.
    EvaluationNoise = 20,
    /// The timesteps of one.
    EvaluationTimestep = 21,
    /// Where in its level's bin an element of one is.
    Dequantization = 22,
    /// The direction in which a divergence is estimated.
    Direction = 23,
    /// The direction in which a training batch's score is looked at.
    TrainingDirection = 24,
    /// The noise of what is known of a picture that is drawn.
    KnownNoise = 25,
    /// Whether a picture of a training batch loses its class.
    ClassDropout = 30,
}

/// Threefry-2x32 with 20 rounds.
pub fn threefry2x32(key: [u32; 2], counter: [u32; 2]) -> [u32; 2] {
    const ROTATIONS: [[u32; 4]; 2] = [[13, 15, 26, 6], [17, 29, 16, 24]];
    let keys = [key[0], key[1], 0x1BD1_1BDA ^ key[0] ^ key[1]];
    let mut x = [counter[0].wrapping_add(keys[0]), counter[1].wrapping_add(keys[1])];
    for block in 0..5 {
        for rotation in ROTATIONS[block % 2] {
            x[0] = x[0].wrapping_add(x[1]);
            x[1] = x[1].rotate_left(rotation) ^ x[0];
        }
        x[0] = x[0].wrapping_add(keys[(block + 1) % 3]);
        x[1] = x[1].wrapping_add(keys[(block + 2) % 3]).wrapping_add(block as u32 + 1);
    }
    x
}

/// The key of one picture of a run, for one purpose.
pub fn picture_key(seed: [u32; 2], purpose: Purpose, picture: u32) -> [u32; 2] {
    threefry2x32(seed, [purpose as u32, picture])
}

/// A number in (0, 1) from 32 bits: never 0, never 1, exact in `f32`.
pub fn uniform<T: Real>(bits: u32) -> T {
    T::from_f64((f64::from(bits >> 9) + 0.5) * f64::from(2.0f32.powi(-23)))
}

/// Elements `2 pair` and `2 pair + 1` of a picture's noise of one step (Box & Muller 1958).
pub fn normal_pair<T: Real>(key: [u32; 2], step: u32, pair: u32) -> [T; 2] {
    let bits = threefry2x32(key, [step, pair]);
    let radius = (T::from_f64(-2.0) * uniform::<T>(bits[0]).ln()).sqrt();
    let (sin, cos) = (T::from_f64(std::f64::consts::TAU) * uniform::<T>(bits[1])).sin_cos();
    [radius * cos, radius * sin]
}

/// Element `element` of a picture's noise of one step.
pub fn normal<T: Real>(key: [u32; 2], step: u32, element: usize) -> T {
    normal_pair(key, step, (element / 2) as u32)[element % 2]
}

/// Random bits for pairs of keys and counters.
#[derive(Clone, Copy, Debug)]
struct Threefry {
    len: usize,
}

impl<T: Real> Twin<T> for Threefry {
    fn twin(&self, io: &mut Bindings<T>) {
        let (keys, counters, bits) = (io.read_integers(0), io.read_integers(1), io.write_integers(2));
        for i in (0..2 * self.len).step_by(2) {
            let words = threefry2x32([keys[i], keys[i + 1]], [counters[i], counters[i + 1]]);
            bits[i..i + 2].copy_from_slice(&words);
        }
    }
}

impl Kernel for Threefry {
    fn shader(&self) -> Shader {
        shader!("threefry", "grid", "threefry")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.len as u32]
    }
    fn bindings(&self) -> Vec<Binding> {
        let words = Binding::read(2 * self.len).integers();
        vec![words, words, Binding::write(2 * self.len).integers()]
    }
    fn groups(&self) -> usize {
        self.len.div_ceil(256)
    }
}

/// Normal noise of a batch: `[pictures, elements]`, keyed by the step's seed, the purpose and the picture's number in the
/// run, counted by (the step's number, element).
#[derive(Clone, Copy, Debug)]
struct Normal {
    pictures: usize,
    elements: usize,
    purpose: Purpose,
    deviation: f32,
}

impl<T: Real> Twin<T> for Normal {
    fn twin(&self, io: &mut Bindings<T>) {
        let Step { seed, step, first_picture, .. } = *io.step();
        let noise = io.write(0);
        for (picture, noise) in noise.chunks_exact_mut(self.elements).enumerate() {
            let key = picture_key(seed, self.purpose, first_picture.wrapping_add(picture as u32));
            for (pair, noise) in noise.chunks_mut(2).enumerate() {
                let normals = normal_pair(key, step, pair as u32).map(|normal: T| normal * T::from_f32(self.deviation));
                noise.copy_from_slice(&normals[..noise.len()]);
            }
        }
    }
}

impl Kernel for Normal {
    fn shader(&self) -> Shader {
        elementwise!(self.elements, "normal", "grid", "step", "threefry", "sincos", "normal")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.pictures as u32, self.elements as u32, self.purpose as u32, self.deviation.to_bits()]
    }
    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::write(self.pictures * self.elements)]
    }
    fn groups(&self) -> usize {
        (self.pictures * self.elements.div_ceil(4)).div_ceil(256)
    }
}

/// Writes normal noise of this standard deviation over a whole value `[pictures, ..]`.
pub fn normal_noise(r: &mut Recorder, out: Value, purpose: Purpose, deviation: f32) {
    let pictures = r.shape(out)[0];
    let elements = r.len(out) / pictures.max(1);
    r.call(Normal { pictures, elements, purpose, deviation }, &[out]);
}

/// Random bits `[n, 2]` for keys `[n, 2]` and counters `[n, 2]`.
///
/// # Errors
/// [`Shape`](crate::Error::Shape) if the keys are not `[n, 2]`.
pub fn random_bits(r: &mut Recorder, keys: Value, counters: Value) -> Result<Value> {
    let [len, 2] = r.dims("random_bits", keys)? else {
        let message = format!("keys {:?}, expected [n, 2]", r.shape(keys));
        return Err(crate::Error::Shape { op: "random_bits", message });
    };
    let bits = r.value(Element::U32, &[len, 2]);
    r.call(Threefry { len }, &[keys, counters, bits]);
    Ok(bits)
}

/// The known answers of Random123, random keys, odd picture sizes, more than one workgroup.
pub(super) fn cases() -> Vec<Case> {
    let known = vec![0, 0, u32::MAX, u32::MAX, 0x1319_8A2E, 0x0370_7344];
    let counters = vec![0, 0, u32::MAX, u32::MAX, 0x243F_6A88, 0x85A3_08D3];
    let bits = |case: Case| case.tolerance(0.0).records(|r, v| Ok(vec![random_bits(r, v[0], v[1])?]));
    let mut cases = vec![
        bits(
            Case::new("random/known answers")
                .constant(&[3, 2], Fill::Integers(known))
                .constant(&[3, 2], Fill::Integers(counters)),
        ),
        bits(
            Case::new("random/bits")
                .constant(&[777, 2], Fill::Below(u32::MAX))
                .constant(&[777, 2], Fill::Below(u32::MAX)),
        ),
    ];
    for (shape, deviation) in [([1, 1], 1.0), ([3, 77], 0.9), ([2, 1000], 1.0)] {
        let step = Step { step: 5, first_picture: 1234, ..Step::seeded(0x1234_5678_9ABC_DEF0) };
        cases.push(
            Case::new(format!("random/normal {shape:?}"))
                .constant(&shape, Fill::Floats(vec![f32::NAN]))
                .step(step)
                .tolerance(8e-7) // of numbers up to 5.8: 4e-6 absolute
                .records(move |r, v| {
                    normal_noise(r, v[0], Purpose::InitialNoise, deviation);
                    Ok(vec![v[0]])
                }),
        );
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::threefry2x32;

    #[test]
    fn threefry_gives_the_known_answers_of_random123() {
        assert_eq!(threefry2x32([0, 0], [0, 0]), [0x6B20_0159, 0x99BA_4EFE]);
        assert_eq!(threefry2x32([u32::MAX; 2], [u32::MAX; 2]), [0x1CB9_96FC, 0xBB00_2BE7]);
        let pi = threefry2x32([0x1319_8A2E, 0x0370_7344], [0x243F_6A88, 0x85A3_08D3]);
        assert_eq!(pi, [0xC492_3A9C, 0x483D_F7A0]);
    }
}
