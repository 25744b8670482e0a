//! What a student is taught of a noisy picture: what its teacher makes of it in two runs, between which it takes a step of
//! DDIM (Salimans & Ho 2022, algorithm 2; Song et al. 2023, algorithm 2). All that is linear in between is in a table with a
//! row for each of the student's steps, worked out in double precision.

use super::sampler_step::clipped;
use super::levels::{COLUMNS, Column, Drawn, timestep_bits};
use super::{Case, Fill};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Step, Twin, Value, shader};

/// Numbers in a step's row.
pub const NUMBERS: usize = 15;

/// What a step's row says, where x_t = signal x_0 + noise eps.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepRow {
    /// Signal and noise at t, where the student begins.
    pub level: [f64; 2],
    /// Factor of the squared error in what the student predicts.
    pub weight: f64,
    /// What networks are told at t and after the teacher's step.
    pub told: [f64; 2],
    /// The teacher's x_0 of x_t, of x_t and its output.
    pub x0_of: [f64; 2],
    /// Where its step goes, x_t', of x_t and of x_0.
    pub after_of: [f64; 2],
    /// x_0' of x_t' and of what is said of it.
    pub x0_after_of: [f64; 2],
    /// What the student is to predict, of x_t, x_0, x_t' and x_0'.
    pub target_of: [f64; 4],
}

impl StepRow {
    /// The numbers, as the table has them.
    pub fn numbers(&self) -> [f64; NUMBERS] {
        let Self { level: [s, n], weight, told: [t, u], x0_of: [a, b], after_of: [c, d], .. } = *self;
        let ([e, f], [g, h, i, j]) = (self.x0_after_of, self.target_of);
        [s, n, weight, t, u, a, b, c, d, e, f, g, h, i, j]
    }
}

#[derive(Clone, Copy, Debug)]
struct Levels {
    pictures: usize,
    steps: usize,
}

impl<T: Real> Twin<T> for Levels {
    fn twin(&self, io: &mut Bindings<T>) {
        let (table, step) = (io.read(0), io.step());
        let (levels, told, told_after) = (io.write(1), io.write(2), io.write(3));
        for (picture, row) in levels.chunks_exact_mut(COLUMNS).enumerate() {
            let place = step.first_picture.wrapping_add(picture as u32);
            let drawn = timestep_bits(step, place, 0) as usize % self.steps;
            let numbers = &table[drawn * NUMBERS..][..NUMBERS];
            let [signal, noise, weight, at] = [numbers[0], numbers[1], numbers[2], numbers[3]];
            // What there is to predict, the teacher says.
            let (none, index) = (T::zero(), T::from_usize(drawn));
            row.copy_from_slice(&[signal, noise, none, none, weight, at, index, T::one()]);
            (told[picture], told_after[picture]) = (at, numbers[4]);
        }
    }
}

impl Kernel for Levels {
    fn shader(&self) -> Shader {
        shader!("distillation_levels", "grid", "step", "threefry", "timestep_draw")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.pictures as u32, self.steps as u32]
    }
    fn bindings(&self) -> Vec<Binding> {
        let each = Binding::write(self.pictures);
        vec![Binding::read(NUMBERS * self.steps), Binding::write(COLUMNS * self.pictures), each, each]
    }
    fn groups(&self) -> usize {
        self.pictures.div_ceil(256)
    }
}

/// Draws the step of every picture, by the run's seed, the step's number and the picture's place in the whole batch, from
/// the table `[steps, 15]`: the pictures' levels, and what networks are told after the teacher's step, `[pictures]`.
///
/// # Errors
/// [`Shape`](Error::Shape) if that is no table.
pub fn distillation_levels(r: &mut Recorder, table: Value, pictures: usize) -> Result<(Drawn, Value)> {
    let steps = steps_of(r, table)?;
    let drawn = Drawn { levels: r.f32(&[pictures, COLUMNS]), told: r.f32(&[pictures]) };
    let told_after = r.f32(&[pictures]);
    r.call(Levels { pictures, steps }, &[table, drawn.levels, drawn.told, told_after]);
    Ok((drawn, told_after))
}

fn steps_of(r: &Recorder, table: Value) -> Result<usize> {
    match *r.shape(table) {
        [steps, NUMBERS] if steps > 0 => Ok(steps),
        ref found => {
            let message = format!("table {found:?}, expected [steps, {NUMBERS}]");
            Err(Error::Shape { op: "distillation", message })
        }
    }
}

/// What both halves of a lesson have in common.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    pictures: usize,
    /// Elements of a picture.
    elements: usize,
    steps: usize,
    clip_range: f32,
}

impl Sizes {
    fn len(&self) -> usize {
        self.pictures * self.elements
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.len() as u32, self.elements as u32, self.clip_range.to_bits()]
    }
    fn tables(&self) -> [Binding; 2] {
        [Binding::read(NUMBERS * self.steps), Binding::read(COLUMNS * self.pictures)]
    }
    /// The row of the picture that an element is of.
    fn row<'a, T: Real>(&self, table: &'a [T], levels: &[T], i: usize) -> &'a [T] {
        let step = levels[i / self.elements * COLUMNS + Column::Index as usize];
        &table[step.as_f64() as usize * NUMBERS..][..NUMBERS]
    }
}

#[derive(Clone, Copy, Debug)]
struct Stride(Sizes);

impl<T: Real> Twin<T> for Stride {
    fn twin(&self, io: &mut Bindings<T>) {
        let (table, levels, x, output) = (io.read(0), io.read(1), io.read(2), io.read(3));
        let (x0, after) = (io.write(4), io.write(5));
        for i in 0..self.0.len() {
            let row = self.0.row(table, levels, i);
            x0[i] = clipped(row[5] * x[i] + row[6] * output[i], T::from_f32(self.0.clip_range));
            after[i] = row[7] * x[i] + row[8] * x0[i];
        }
    }
}

impl Kernel for Stride {
    fn shader(&self) -> Shader {
        shader!("distillation_step", "grid", "clipped")
    }
    fn parameters(&self) -> Vec<u32> {
        self.0.parameters()
    }
    fn bindings(&self) -> Vec<Binding> {
        let ([table, levels], all) = (self.0.tables(), Binding::read(self.0.len()));
        let written = Binding::write(self.0.len());
        vec![table, levels, all, all, written, written]
    }
    fn groups(&self) -> usize {
        self.0.len().div_ceil(1024)
    }
}

#[derive(Clone, Copy, Debug)]
struct Target(Sizes);

impl<T: Real> Twin<T> for Target {
    fn twin(&self, io: &mut Bindings<T>) {
        let (table, levels, x) = (io.read(0), io.read(1), io.read(2));
        let (x0, after, output, target) = (io.read(3), io.read(4), io.read(5), io.write(6));
        for i in 0..self.0.len() {
            let row = self.0.row(table, levels, i);
            let last = clipped(row[9] * after[i] + row[10] * output[i], T::from_f32(self.0.clip_range));
            target[i] = row[11] * x[i] + row[12] * x0[i] + row[13] * after[i] + row[14] * last;
        }
    }
}

impl Kernel for Target {
    fn shader(&self) -> Shader {
        shader!("distillation_target", "grid", "clipped")
    }
    fn parameters(&self) -> Vec<u32> {
        self.0.parameters()
    }
    fn bindings(&self) -> Vec<Binding> {
        let ([table, levels], all) = (self.0.tables(), Binding::read(self.0.len()));
        vec![table, levels, all, all, all, all, Binding::write(self.0.len())]
    }
    fn groups(&self) -> usize {
        self.0.len().div_ceil(1024)
    }
}

/// A batch that is taught: the table `[steps, 15]`, the pictures' levels `[pictures, 8]`, of which each names its step, and
/// x_t. x_0 is clipped to the range, which may be infinite.
#[derive(Clone, Copy, Debug)]
pub struct Lesson {
    /// The steps' rows.
    pub table: Value,
    /// The pictures' rows.
    pub levels: Value,
    /// x_t, `[pictures, ..]`.
    pub x: Value,
    /// What x_0 is clipped to on both sides of zero.
    pub clip_range: f32,
}

impl Lesson {
    fn sizes(&self, r: &Recorder, others: &[Value]) -> Result<Sizes> {
        let steps = steps_of(r, self.table)?;
        let len = r.len(self.x);
        let pictures = r.shape(self.x).first().copied().unwrap_or(0);
        let fits = len > 0 && r.shape(self.levels) == [pictures, COLUMNS];
        if !fits || others.iter().any(|&other| r.len(other) != len) {
            let others: Vec<_> = others.iter().map(|&other| r.shape(other)).collect();
            let message = format!("levels {:?}, x {:?}, {others:?}", r.shape(self.levels), r.shape(self.x));
            return Err(Error::Shape { op: "distillation", message });
        }
        Ok(Sizes { pictures, elements: len / pictures, steps, clip_range: self.clip_range })
    }

    /// The teacher's step: x_0 as its output has it, and x_t'.
    ///
    /// # Errors
    /// [`Shape`](Error::Shape) if the sizes do not fit together.
    pub fn step(&self, r: &mut Recorder, output: Value) -> Result<[Value; 2]> {
        let sizes = self.sizes(r, &[output])?;
        let shape = r.shape(self.x).to_vec();
        let [x0, after] = [r.f32(&shape), r.f32(&shape)];
        r.call(Stride(sizes), &[self.table, self.levels, self.x, output, x0, after]);
        Ok([x0, after])
    }

    /// What the student is to predict of x_t, from the teacher's step and what was said of where it went.
    ///
    /// # Errors
    /// [`Shape`](Error::Shape) if the sizes do not fit together.
    pub fn target(&self, r: &mut Recorder, [x0, after]: [Value; 2], output: Value) -> Result<Value> {
        let sizes = self.sizes(r, &[x0, after, output])?;
        let shape = r.shape(self.x).to_vec();
        let target = r.f32(&shape);
        r.call(Target(sizes), &[self.table, self.levels, self.x, x0, after, output, target]);
        Ok(target)
    }
}

/// One element, odd sizes, one step, clipped and not, more than one workgroup.
pub(super) fn cases() -> Vec<Case> {
    let step = Step { step: 3, first_picture: 20, ..Step::seeded(42) };
    let mut cases = Vec::new();
    for (pictures, steps) in [(1, 1), (300, 7), (33, 512)] {
        cases.push(
            Case::new(format!("distillation/levels of {pictures} at {steps}"))
                .constant(&[steps, NUMBERS], Fill::Uniform(0.1, 1.0))
                .step(step)
                .records(move |r, v| {
                    let (drawn, after) = distillation_levels(r, v[0], pictures)?;
                    Ok(vec![drawn.levels, drawn.told, after])
                }),
        );
    }
    for (shape, steps, clip_range) in
        [([1, 1, 1, 1], 1, 1.0), ([3, 5, 5, 3], 4, f32::INFINITY), ([5, 16, 15, 1], 3, 0.7), ([2, 24, 25, 3], 9, 1.0)]
    {
        // Every picture at a step of its own.
        let levels = (0..shape[0]).flat_map(|picture| [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, (picture * 2 % steps) as f32, 1.0]);
        cases.push(
            Case::new(format!("distillation/lesson {shape:?} of {steps}, x_0 to {clip_range}"))
                .constant(&[steps, NUMBERS], Fill::Normal(1.0))
                .constant(&[shape[0], COLUMNS], Fill::Floats(levels.collect()))
                .constant(&shape, Fill::Normal(1.0))
                .constant(&shape, Fill::Normal(1.0))
                .constant(&shape, Fill::Normal(1.0))
                .records(move |r, v| {
                    let lesson = Lesson { table: v[0], levels: v[1], x: v[2], clip_range };
                    let made = lesson.step(r, v[3])?;
                    let target = lesson.target(r, made, v[4])?;
                    Ok(vec![made[0], made[1], target])
                }),
        );
    }
    cases
}
