//! The numbers of each of a student's steps, in double precision.

use super::{DistillationMethod, DistillationTable};
use crate::diffusion::{Chain, ChainOptions, NoiseSchedule, PredictionType, SchedulerConfig, boundary};
use crate::error::{Error, Result};
use crate::kernels::distillation::StepRow;

/// A level of noise that a network is asked at: what it is told, and signal and noise of x.
#[derive(Clone, Copy, Debug)]
struct At {
    told: f64,
    signal: f64,
    noise: f64,
}

/// A picture.
const END: At = At { told: 0.0, signal: 1.0, noise: 0.0 };

/// The levels that a scheduler's chain visits, from noise on.
fn visited(scheduler: &SchedulerConfig, steps: usize) -> Result<Vec<At>> {
    let chain = Chain::new(scheduler, ChainOptions { steps: Some(steps), ..ChainOptions::default() })?;
    let at =
        |stage: &crate::diffusion::Stage| At { told: stage.timestep, signal: stage.level[0], noise: stage.level[1] };
    Ok(chain.stages().iter().map(at).collect())
}

/// Whether a student of the second levels asks its teacher, of the first, only where that has learnt to answer: at every other
/// of its timesteps.
fn nests(of_teacher: &[At], of_student: &[At]) -> bool {
    of_teacher.iter().step_by(2).map(|at| at.told).eq(of_student.iter().map(|at| at.told))
}

/// Whether a student of so many steps can have a teacher of twice as many. T i / N is rounded as diffusers does it, in floating
/// point and anew for every N: a half can go up with one N and down with the other.
pub(super) fn can_halve_to(noise: &SchedulerConfig, steps: usize) -> Result<bool> {
    Ok(nests(&visited(noise, 2 * steps)?, &visited(noise, steps)?))
}

/// A step of DDIM (Song et al. 2021, eq. 12) from a level to another, of x and of x_0. The noise is that of x_0 as it was
/// clipped, so that all x_0 on the way stay in the range.
fn ddim(from: At, to: At) -> [f64; 2] {
    let kept = to.noise / from.noise;
    [kept, to.signal - kept * from.signal]
}

/// The row of a step from `t` by way of `between` to `to`, for a teacher that predicts so.
fn progressive(teacher: PredictionType, t: At, between: At, to: At) -> StepRow {
    let second = ddim(between, to);
    // x_t'' = second (first (x_t, x_0), x_0') = (one step) (x_t, share x_0 + (1 - share) x_0').
    let first = ddim(t, between);
    let share = second[0] * first[1] / (second[0] * first[1] + second[1]);
    taught_x0(teacher, t, between, [share, 1.0 - share])
}

/// The row of a step whose x_0 is this sum of the teacher's two; the student says it as v.
fn taught_x0(teacher: PredictionType, t: At, between: At, [first, second]: [f64; 2]) -> StepRow {
    let [v_of_x, v_of_x0] = v_of(t);
    StepRow {
        level: [t.signal, t.noise],
        weight: WEIGHT,
        told: [t.told, between.told],
        x0_of: teacher.x0_and_epsilon(t.signal, t.noise)[0],
        after_of: ddim(t, between),
        x0_after_of: teacher.x0_and_epsilon(between.signal, between.noise)[0],
        target_of: [v_of_x, v_of_x0 * first, 0.0, v_of_x0 * second],
    }
}

/// v of x and x_0: the inverse of x_0 = s x - n v, for s^2 + n^2 = 1.
fn v_of(t: At) -> [f64; 2] {
    [t.signal / t.noise, -1.0 / t.noise]
}

/// SNR + 1 of the squared error in x_0, which is 1 of that in v (Salimans & Ho 2022, section 4). Their other one, max(SNR, 1),
/// was no better on the digits.
const WEIGHT: f64 = 1.0;

/// The row of a consistent student from `t` by one step of the teacher to `to`.
fn consistency(teacher: PredictionType, scaling: f64, t: At, to: At) -> StepRow {
    let [skip, out] = boundary(t.told, scaling);
    let [skip_after, out_after] = boundary(to.told, scaling);
    // f = (skip + out s) x - out n v of the student, skip' x' + out' x_0' of what teaches it.
    let of_v = out * t.noise;
    StepRow {
        level: [t.signal, t.noise],
        weight: of_v.powi(2),
        told: [t.told, to.told],
        x0_of: teacher.x0_and_epsilon(t.signal, t.noise)[0],
        after_of: ddim(t, to),
        x0_after_of: PredictionType::VPrediction.x0_and_epsilon(to.signal, to.noise)[0],
        target_of: [(skip + out * t.signal) / of_v, 0.0, -skip_after / of_v, -out_after / of_v],
    }
}

impl DistillationTable {
    /// A row for each of the student's steps, those with much noise first.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if the noise has not so many steps, or the teacher says nothing at one of them.
    pub fn rows(&self, noise: &SchedulerConfig) -> Result<Vec<StepRow>> {
        let teacher = self.teacher_prediction;
        let rows: Vec<StepRow> = match self.method {
            DistillationMethod::Progressive => {
                let drawing = self.drawing_scheduler(noise)?;
                let steps = visited(&drawing, self.steps)?;
                if self.teacher_steps == self.steps {
                    steps.iter().map(|&t| taught_x0(teacher, t, t, [1.0, 0.0])).collect()
                } else {
                    let all = visited(&drawing, self.teacher_steps)?;
                    if !nests(&all, &steps) {
                        let (student, teacher, all) = (self.steps, self.teacher_steps, noise.num_train_timesteps);
                        return Err(Error::input(format!(
                            "timesteps of {student} steps are not every other of those of {teacher}, of {all}"
                        )));
                    }
                    let next = |step: usize| steps.get(step + 1).copied().unwrap_or(END);
                    let between = all.iter().skip(1).step_by(2);
                    let rows = steps.iter().zip(between).enumerate();
                    rows.map(|(step, (&t, &between))| progressive(teacher, t, between, next(step))).collect()
                }
            }
            DistillationMethod::Consistency => {
                let drawing = self.drawing_scheduler(noise)?;
                let levels = visited(&drawing, self.teacher_steps)?;
                let schedule = NoiseSchedule::new(noise);
                let first = At {
                    told: 0.0,
                    signal: schedule.alphas_cumprod[0].sqrt(),
                    noise: schedule.one_minus_alphas_cumprod[0].sqrt(),
                };
                let next = |step: usize| levels.get(step + 1).copied().unwrap_or(first);
                let of = |(step, &t): (usize, &At)| consistency(teacher, drawing.timestep_scaling, t, next(step));
                // At timestep 0 there is nothing to learn: f is x.
                levels.iter().enumerate().filter(|(_, t)| t.told > 0.0).map(of).collect()
            }
        };
        match rows.iter().find(|row| row.numbers().iter().any(|number| !(*number as f32).is_finite())) {
            Some(row) => Err(Error::input(format!(
                "a teacher of prediction_type {} says no x_0 at timestep {} or {}, where signal and noise are {:.3e} and {:.3e}",
                serde_json::to_value(teacher).unwrap_or_default(),
                row.told[0],
                row.told[1],
                row.level[0],
                row.level[1]
            ))),
            None => Ok(rows),
        }
    }
}
