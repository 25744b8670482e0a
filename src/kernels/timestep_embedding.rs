//! The sinusoidal embedding of timesteps (Vaswani et al. 2017, arXiv 1706.03762, section 3.5), as diffusers'
//! `get_timestep_embedding` lays it out.

use super::{Case, Fill};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Twin, Value, shader};
use std::f64::consts::TAU;

/// Most frequencies: what the shader's uniform block has room for.
const MOST_FREQUENCIES: usize = 1024;
/// Timesteps are below this: single precision tells whole ones apart up to here.
pub const LARGEST_TIMESTEP: f32 = 16_777_216.0;
/// A whole turn, in the units of a phase.
const TURN: f64 = 4_294_967_296.0;

/// What an embedding looks like; the names are those of a diffusers configuration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SinusoidalEmbedding {
    /// Numbers a timestep is turned into, at most 2049. The last is 0 if this is odd.
    pub dim: usize,
    /// The cosines come first.
    pub flip_sin_to_cos: bool,
    /// Frequency i is 10000^(-i / (dim / 2 - freq_shift)) radians a timestep: 1 makes the last one 1 / 10000.
    pub freq_shift: f32,
}

impl SinusoidalEmbedding {
    fn frequencies(&self) -> usize {
        self.dim / 2
    }

    /// The frequencies in 2^-32 turns a timestep. A whole timestep times such a number, in wrapping integers, is the
    /// angle less its whole turns: nothing is lost as in reducing a large float.
    fn phases(&self) -> impl ExactSizeIterator<Item = u32> + use<> {
        let last = self.frequencies() as f64 - f64::from(self.freq_shift);
        (0..self.frequencies()).map(move |i| (10_000_f64.powf(-(i as f64) / last) / TAU * TURN).round() as u32)
    }
}

/// `y[n]` = \[sin(`t[n]` f), cos(`t[n]` f)\] over the frequencies f.
#[derive(Clone, Copy, Debug)]
struct Sinusoids {
    timesteps: usize,
    embedding: SinusoidalEmbedding,
}

impl<T: Real> Twin<T> for Sinusoids {
    fn twin(&self, io: &mut Bindings<T>) {
        let SinusoidalEmbedding { dim, flip_sin_to_cos, .. } = self.embedding;
        let (timesteps, y) = (io.read(0), io.write(1));
        for (y, &timestep) in y.chunks_exact_mut(dim).zip(timesteps) {
            y.fill(T::zero());
            let (low, high) = y.split_at_mut(self.embedding.frequencies());
            let (sines, cosines) = if flip_sin_to_cos { (high, low) } else { (low, high) };
            for ((sine, cosine), phase) in sines.iter_mut().zip(cosines).zip(self.embedding.phases()) {
                let whole = timestep.as_f64().floor();
                let part = timestep.as_f64() - whole;
                // Below 0 too, as EDM's networks are told.
                let turns = f64::from((whole as i64 as u32).wrapping_mul(phase)) + part * f64::from(phase);
                (*sine, *cosine) = T::from_f64(turns / TURN * TAU).sin_cos();
            }
        }
    }
}

impl Kernel for Sinusoids {
    fn shader(&self) -> Shader {
        shader!("timestep_embedding", "grid", "sincos")
    }
    fn parameters(&self) -> Vec<u32> {
        let SinusoidalEmbedding { dim, flip_sin_to_cos, .. } = self.embedding;
        let phases = self.embedding.phases();
        let mut words = vec![self.timesteps as u32, dim as u32, phases.len() as u32, flip_sin_to_cos.into()];
        words.extend(phases);
        words.resize(4 + MOST_FREQUENCIES, 0);
        words
    }
    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(self.timesteps), Binding::write(self.timesteps * self.embedding.dim)]
    }
    fn groups(&self) -> usize {
        (self.timesteps * self.embedding.dim).div_ceil(1024)
    }
    fn flops(&self) -> u64 {
        20 * (self.timesteps * self.embedding.dim) as u64
    }
}

/// Sinusoidal embedding of timesteps `[N]`, nearer to 0 than [`LARGEST_TIMESTEP`] and not necessarily whole: `[N, dim]`. Has no gradient.
///
/// # Errors
/// [`Shape`](Error::Shape) if the timesteps are not a list, or `dim` is too small or too large.
pub fn timestep_embedding(r: &mut Recorder, timesteps: Value, embedding: SinusoidalEmbedding) -> Result<Value> {
    const OP: &str = "timestep_embedding";
    let [count] = r.dims(OP, timesteps)?;
    let frequencies = embedding.frequencies();
    let is_shift = embedding.freq_shift < frequencies as f32; // not if it is NaN
    if !is_shift || frequencies > MOST_FREQUENCIES {
        let message = format!("found {embedding:?}, expected dim / 2 above freq_shift and at most {MOST_FREQUENCIES}");
        return Err(Error::Shape { op: OP, message });
    }
    let y = r.f32(&[count, embedding.dim]);
    r.call(Sinusoids { timesteps: count, embedding }, &[timesteps, y]);
    Ok(y)
}

/// Even and odd sizes in every layout, the least and the most frequencies, more than one workgroup, the largest
/// timesteps, and some between whole ones and below 0.
pub(super) fn cases() -> Vec<Case> {
    let case = |dim: usize, flip_sin_to_cos: bool, freq_shift: f32, timesteps: Vec<f32>| {
        let embedding = SinusoidalEmbedding { dim, flip_sin_to_cos, freq_shift };
        let name = format!("timestep_embedding/{dim} flip {flip_sin_to_cos} shift {freq_shift}, {}", timesteps.len());
        Case::new(name)
            .constant(&[timesteps.len()], Fill::Floats(timesteps))
            .records(move |r, v| Ok(vec![timestep_embedding(r, v[0], embedding)?]))
    };
    let mut cases = vec![
        case(2, false, 0.0, vec![7.0]),
        case(2049, true, 1.0, vec![999.0, 3.0]),
        case(128, true, 0.0, (0..1000).step_by(37).map(|t| t as f32).collect()),
        case(32, false, 1.0, vec![16_777_215.0, 8_388_607.5, 0.25, 1e-6]),
        case(32, false, 1.0, vec![-1.5, -0.25, -999.0, -1e-3, -31.0, -7.75]),
    ];
    for dim in [32, 33] {
        for (flip, shift) in [(false, 0.0), (false, 1.0), (true, 0.0), (true, 1.0), (true, -2.5)] {
            cases.push(case(dim, flip, shift, vec![0.0, 1.0, 10.0, 500.0, 999.0]));
        }
    }
    cases
}
