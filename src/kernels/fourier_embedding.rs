//! What a network that is told noise levels does with them (Song et al. 2021, arXiv 2011.13456, appendix C): Gaussian
//! Fourier features of the level's logarithm, and the output divided by the level.
//!
//! A timestep of 0, which has no logarithm and which nothing can be divided by, counts as 1.

use super::{Case, Fill, parallel};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Twin, Value, shader};

fn level<T: Real>(timestep: T) -> T {
    if timestep == T::zero() { T::one() } else { timestep }
}

/// `y[n]` = \[sin(2 pi f log `t[n]`), cos(2 pi f log `t[n]`)\] over the frequencies f.
#[derive(Clone, Copy, Debug)]
struct Features {
    timesteps: usize,
    frequencies: usize,
}

impl<T: Real> Twin<T> for Features {
    fn twin(&self, io: &mut Bindings<T>) {
        let (timesteps, frequencies, y) = (io.read(0), io.read(1), io.write(2));
        for (y, &timestep) in y.chunks_exact_mut(2 * self.frequencies).zip(timesteps) {
            let (sines, cosines) = y.split_at_mut(self.frequencies);
            for ((sine, cosine), &frequency) in sines.iter_mut().zip(cosines).zip(frequencies) {
                // As diffusers rounds it, in this order: an error of the angle is an error of the result.
                let angle = level(timestep).ln() * frequency * T::from_f32(std::f32::consts::TAU);
                (*sine, *cosine) = angle.sin_cos();
            }
        }
    }
}

impl Kernel for Features {
    fn shader(&self) -> Shader {
        shader!("fourier_embedding", "grid", "threefry", "sincos", "normal")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.timesteps as u32, self.frequencies as u32]
    }
    fn bindings(&self) -> Vec<Binding> {
        let len = 2 * self.timesteps * self.frequencies;
        vec![Binding::read(self.timesteps), Binding::read(self.frequencies), Binding::write(len)]
    }
    fn groups(&self) -> usize {
        (2 * self.timesteps * self.frequencies).div_ceil(1024)
    }
    fn flops(&self) -> u64 {
        80 * (self.timesteps * self.frequencies) as u64
    }
}

/// Fourier features of timesteps `[N]` above 0 for frequencies `[F]`: `[N, 2 F]`. Has no gradient: the frequencies
/// are drawn once and not learnt.
///
/// # Errors
/// [`Shape`](Error::Shape) if either is not a list.
pub fn fourier_embedding(r: &mut Recorder, timesteps: Value, frequencies: Value) -> Result<Value> {
    const OP: &str = "fourier_embedding";
    let ([count], [width]) = (r.dims(OP, timesteps)?, r.dims(OP, frequencies)?);
    let y = r.f32(&[count, 2 * width]);
    r.call(Features { timesteps: count, frequencies: width }, &[timesteps, frequencies, y]);
    Ok(y)
}

/// `y[n] = x[n] / t[n]`.
#[derive(Clone, Copy, Debug)]
struct Divide {
    pictures: usize,
    elements: usize,
}

impl<T: Real> Twin<T> for Divide {
    fn twin(&self, io: &mut Bindings<T>) {
        let (x, timesteps, y) = (io.read(0), io.read(1), io.write(2));
        for (i, y) in y.iter_mut().enumerate() {
            *y = x[i] / level(timesteps[i / self.elements]);
        }
    }
}

impl Kernel for Divide {
    fn shader(&self) -> Shader {
        shader!("divide_by_timestep", "grid")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.pictures as u32, self.elements as u32]
    }
    fn bindings(&self) -> Vec<Binding> {
        let len = self.pictures * self.elements;
        vec![Binding::read(len), Binding::read(self.pictures), Binding::write(len)]
    }
    fn groups(&self) -> usize {
        (self.pictures * self.elements).div_ceil(1024)
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let (x, timesteps, y) = (io.read(0), io.read(1), io.write(2));
        parallel::for_rows(
            y,
            self.elements,
            #[inline(always)]
            |picture, y| {
                let by = level(timesteps[picture]);
                y.iter_mut().zip(&x[picture * self.elements..]).for_each(|(y, &x)| *y = x / by);
            },
        );
    }
}

/// x `[pictures, ..]` with every picture divided by its timestep, `[pictures]`.
///
/// # Errors
/// [`Shape`](Error::Shape) if there is not a timestep for every picture.
pub fn divide_by_timestep(r: &mut Recorder, x: Value, timesteps: Value) -> Result<Value> {
    let shape = r.shape(x).to_vec();
    if shape.is_empty() || r.shape(timesteps) != &shape[..1] {
        let message = format!("x {shape:?} and timesteps {:?} do not fit", r.shape(timesteps));
        return Err(Error::Shape { op: "divide_by_timestep", message });
    }
    let kernel = Divide { pictures: shape[0], elements: shape[1..].iter().product() };
    let y = r.activation(&shape);
    r.call(kernel, &[x, timesteps, y]);
    r.differentiable(y, &[x], move |r, dy| {
        if let Some(dx) = r.new_gradient(x) {
            r.call(kernel, &[dy, timesteps, dx]);
        }
        Ok(())
    });
    Ok(y)
}

/// One element, odd sizes, more than one workgroup; small and large frequencies and timesteps, and a timestep of 0.
pub(super) fn cases() -> Vec<Case> {
    // The logarithm and the angle are rounded to single precision: 6e-8 of up to 2 pi * 7.3 * 64 each.
    let embedding = |deviation: f64, count: usize, timesteps: Vec<f32>, tolerance: f64| {
        Case::new(format!("fourier_embedding/{count} frequencies of {deviation}, {} timesteps", timesteps.len()))
            .constant(&[timesteps.len()], Fill::Floats(timesteps))
            .constant(&[count], Fill::Uniform(-deviation, deviation))
            .tolerance(tolerance)
            .records(|r, v| Ok(vec![fourier_embedding(r, v[0], v[1])?]))
    };
    let divide = |shape: &[usize], timesteps: Vec<f32>| {
        Case::new(format!("divide_by_timestep/{shape:?}"))
            .input(shape, Fill::Normal(1.0))
            .constant(&shape[..1], Fill::Floats(timesteps))
            .records(|r, v| Ok(vec![divide_by_timestep(r, v[0], v[1])?]))
    };
    vec![
        embedding(1.0, 1, vec![2.0], 1e-5),
        embedding(1.0, 33, vec![0.0, 1.0, 999.0, 0.01, 1348.0], 1e-5),
        embedding(64.0, 300, vec![0.01, 7.5, 123.0, 1348.0], 5e-4),
        divide(&[1, 1], vec![3.0]),
        divide(&[3, 5, 7, 3], vec![0.01, 999.0, 0.0]),
        divide(&[2, 1500], vec![2.0, 1348.0]),
    ]
}
