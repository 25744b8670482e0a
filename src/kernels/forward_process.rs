//! The forward process, x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps (Ho et al. 2020, eq. 4), with eps drawn where it is
//! used, or given.

use super::levels::{COLUMNS, Column};
use super::random::{Purpose, normal, picture_key};
use super::schedule_tables::{TABLES, Table};
use super::{Case, Fill};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Step, Twin, Value, elementwise, shader};

#[derive(Clone, Copy, Debug)]
struct Sizes {
    pictures: usize,
    /// Elements of a picture.
    elements: usize,
    timesteps: usize,
}

impl Sizes {
    fn parameters(&self) -> Vec<u32> {
        vec![self.pictures as u32, self.elements as u32, self.timesteps as u32]
    }

    fn noisy<T: Real>(&self, tables: &[T], timestep: usize, x0: T, noise: T) -> T {
        let at = |table: Table| tables[table as usize * self.timesteps + timestep];
        at(Table::AlphasCumprod).sqrt() * x0 + at(Table::OneMinusAlphasCumprod).sqrt() * noise
    }
}

/// Draws eps of every picture of the batch and writes x_t and what the network is to predict, as `levels` say.
#[derive(Clone, Copy, Debug)]
struct Drawn {
    pictures: usize,
    /// Elements of a picture.
    elements: usize,
}

impl<T: Real> Twin<T> for Drawn {
    fn twin(&self, io: &mut Bindings<T>) {
        let (levels, x0, step) = (io.read(0), io.read(1), io.step());
        let (noisy, target) = (io.write(2), io.write(3));
        let Step { seed, step, first_picture, .. } = *step;
        for (picture, level) in levels.chunks_exact(COLUMNS).enumerate() {
            let at = |column: Column| level[column as usize];
            let key = picture_key(seed, Purpose::TrainingNoise, first_picture.wrapping_add(picture as u32));
            for element in 0..self.elements {
                let i = picture * self.elements + element;
                let noise: T = normal(key, step, element);
                noisy[i] = at(Column::Signal) * x0[i] + at(Column::Noise) * noise;
                target[i] = at(Column::OfX0) * x0[i] + at(Column::OfEpsilon) * noise;
            }
        }
    }
}

impl Kernel for Drawn {
    fn shader(&self) -> Shader {
        elementwise!(self.elements, "forward_process_drawn", "grid", "step", "threefry", "sincos", "normal")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.pictures as u32, self.elements as u32]
    }
    fn bindings(&self) -> Vec<Binding> {
        let len = self.pictures * self.elements;
        vec![Binding::read(COLUMNS * self.pictures), Binding::read(len), Binding::write(len), Binding::write(len)]
    }
    fn groups(&self) -> usize {
        (self.pictures * self.elements.div_ceil(4)).div_ceil(256)
    }
}

/// x_t for t and eps that are given.
#[derive(Clone, Copy, Debug)]
struct Given(Sizes);

impl<T: Real> Twin<T> for Given {
    fn twin(&self, io: &mut Bindings<T>) {
        let (tables, x0, noise, timesteps) = (io.read(0), io.read(1), io.read(2), io.read(3));
        let noisy = io.write(4);
        for i in 0..noisy.len() {
            noisy[i] = self.0.noisy(tables, timesteps[i / self.0.elements].as_f64() as usize, x0[i], noise[i]);
        }
    }
}

impl Kernel for Given {
    fn shader(&self) -> Shader {
        shader!("forward_process_given", "grid")
    }
    fn parameters(&self) -> Vec<u32> {
        self.0.parameters()
    }
    fn bindings(&self) -> Vec<Binding> {
        let Sizes { pictures, elements, timesteps } = self.0;
        let pixels = Binding::read(pictures * elements);
        vec![
            Binding::read(TABLES * timesteps),
            pixels,
            pixels,
            Binding::read(pictures),
            Binding::write(pictures * elements),
        ]
    }
    fn groups(&self) -> usize {
        (self.0.pictures * self.0.elements).div_ceil(1024)
    }
}

/// What the forward process makes of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Noisy {
    /// x_t, shaped as x_0.
    pub sample: Value,
    /// What the network is to predict, shaped as x_0.
    pub target: Value,
}

fn sizes(r: &Recorder, tables: Value, x0: Value) -> Result<Sizes> {
    let wrong = || {
        let message = format!("tables {:?} and x_0 {:?} do not fit", r.shape(tables), r.shape(x0));
        Error::Shape { op: "forward_process", message }
    };
    let (&[TABLES, timesteps], &[pictures, ..]) = (r.shape(tables), r.shape(x0)) else { return Err(wrong()) };
    Ok(Sizes { pictures, elements: r.len(x0) / pictures.max(1), timesteps })
}

/// Draws noise for every picture of x_0 `[pictures, ..]`, by the step's seed and number, and mixes it as the pictures'
/// [`levels`](super::levels::levels) `[pictures, 8]` say.
///
/// # Errors
/// [`Shape`](Error::Shape) if the sizes do not fit together.
pub fn forward_process(r: &mut Recorder, levels: Value, x0: Value) -> Result<Noisy> {
    let shape = r.shape(x0).to_vec();
    let pictures = shape.first().copied().unwrap_or(0);
    if pictures == 0 || r.shape(levels) != [pictures, COLUMNS] {
        let message = format!("levels {:?} and x_0 {shape:?} do not fit", r.shape(levels));
        return Err(Error::Shape { op: "forward_process", message });
    }
    let (sample, target) = (r.f32(&shape), r.f32(&shape));
    let kernel = Drawn { pictures, elements: r.len(x0) / pictures };
    r.call(kernel, &[levels, x0, sample, target]);
    Ok(Noisy { sample, target })
}

/// x_t for given noise, shaped as x_0, and timesteps `[pictures]`. Timesteps are validated before they are uploaded.
///
/// # Errors
/// [`Shape`](Error::Shape) if the sizes do not fit together.
pub fn add_noise(r: &mut Recorder, tables: Value, x0: Value, noise: Value, timesteps: Value) -> Result<Value> {
    let sizes = sizes(r, tables, x0)?;
    let shape = r.shape(x0).to_vec();
    if r.shape(noise) != shape || r.shape(timesteps) != [sizes.pictures] {
        let message = format!("x_0 {shape:?}, noise {:?}, timesteps {:?}", r.shape(noise), r.shape(timesteps));
        return Err(Error::Shape { op: "add_noise", message });
    }
    let sample = r.f32(&shape);
    r.call(Given(sizes), &[tables, x0, noise, timesteps, sample]);
    Ok(sample)
}

/// Odd picture sizes, one element, more than one workgroup; every end of the schedule.
pub(super) fn cases() -> Vec<Case> {
    let tables = |case: Case| case.constant(&[TABLES, 1000], Fill::Uniform(0.01, 1.0));
    let mut cases = Vec::new();
    for shape in [[1, 1, 1, 1], [3, 5, 5, 3], [5, 16, 15, 1], [2, 7, 3, 2], [3, 20, 20, 3]] {
        let step = Step { step: 7, first_picture: 64, ..Step::seeded(99) };
        cases.push(
            Case::new(format!("forward_process/drawn {shape:?}"))
                .constant(&[shape[0], COLUMNS], Fill::Uniform(-1.0, 1.0))
                .constant(&shape, Fill::Uniform(-1.0, 1.0))
                .step(step)
                .records(move |r, v| {
                    let noisy = forward_process(r, v[0], v[1])?;
                    Ok(vec![noisy.sample, noisy.target])
                }),
        );
        cases.push(
            tables(Case::new(format!("forward_process/given {shape:?}")))
                .constant(&shape, Fill::Uniform(-1.0, 1.0))
                .constant(&shape, Fill::Normal(1.0))
                .constant(&shape[..1], Fill::Floats(vec![0.0, 999.0, 500.0]))
                .records(move |r, v| {
                    Ok(vec![add_noise(r, v[0], v[1], v[2], v[3])?])
                }),
        );
    }
    cases
}
