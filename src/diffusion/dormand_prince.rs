//! Dormand & Prince's method of order 5 with an embedded one of order 4 (1980), with a step of its own for every path: a
//! path asks for a slope where it needs one, so that many paths are answered together.

/// What an error of a step may come to: `absolute` and `relative` of the state's size, in the root mean square.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Of 1.
    pub absolute: f64,
    /// Of the state.
    pub relative: f64,
}

/// The stages' places in a step, and what each takes of the slopes before it; the last one's state is the step's result.
const NODES: [f64; 7] = [0.0, 0.2, 0.3, 0.8, 8.0 / 9.0, 1.0, 1.0];
const WEIGHTS: [[f64; 6]; 7] = [
    [0.0; 6],
    [0.2, 0.0, 0.0, 0.0, 0.0, 0.0],
    [3.0 / 40.0, 9.0 / 40.0, 0.0, 0.0, 0.0, 0.0],
    [44.0 / 45.0, -56.0 / 15.0, 32.0 / 9.0, 0.0, 0.0, 0.0],
    [19372.0 / 6561.0, -25360.0 / 2187.0, 64448.0 / 6561.0, -212.0 / 729.0, 0.0, 0.0],
    [9017.0 / 3168.0, -355.0 / 33.0, 46732.0 / 5247.0, 49.0 / 176.0, -5103.0 / 18656.0, 0.0],
    [35.0 / 384.0, 0.0, 500.0 / 1113.0, 125.0 / 192.0, -2187.0 / 6784.0, 11.0 / 84.0],
];
/// The difference of both orders, of the seven slopes.
const ERROR: [f64; 7] =
    [71.0 / 57600.0, 0.0, -71.0 / 16695.0, 71.0 / 1920.0, -17253.0 / 339_200.0, 22.0 / 525.0, -1.0 / 40.0];

/// The first step, of the whole way.
const FIRST_STEP: f64 = 0.02;
/// A step of less, of the whole way, gets nowhere.
const LEAST_STEP: f64 = 1e-9;

/// A state on its way from one time to another.
pub(in crate::diffusion) struct Path {
    time: f64,
    end: f64,
    step: f64,
    most: f64,
    least: f64,
    state: Vec<f64>,
    asked: Vec<f64>,
    slopes: [Vec<f64>; 7],
    stage: usize,
    refused: bool,
    tolerance: Tolerance,
    pub(in crate::diffusion) evaluations: usize,
}

/// Where a path is after a slope was given to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::diffusion) enum Progress {
    /// It needs the next slope.
    Asking,
    /// At its end.
    Done,
    /// Its steps have become too small.
    Stuck,
}

impl Path {
    pub(in crate::diffusion) fn new(range: [f64; 2], state: Vec<f64>, tolerance: Tolerance) -> Self {
        let [time, end] = range;
        let way = end - time;
        Self {
            time,
            end,
            step: FIRST_STEP * way,
            most: way,
            least: LEAST_STEP * way,
            asked: state.clone(),
            state,
            slopes: Default::default(),
            stage: 0,
            refused: false,
            tolerance,
            evaluations: 0,
        }
    }

    /// The same with steps of at most `most`: where nothing happens for a while, steps grow until one may jump over what
    /// follows, and its stages see nothing of it.
    pub(in crate::diffusion) fn with_steps_up_to(self, most: f64) -> Self {
        Self { step: self.step.min(most), most, ..self }
    }

    /// Where the next slope is needed: the time and the state.
    pub(in crate::diffusion) fn asks(&self) -> (f64, &[f64]) {
        (self.time + NODES[self.stage] * self.step, &self.asked)
    }

    /// The state, once it is at its end.
    pub(in crate::diffusion) fn state(&self) -> &[f64] {
        &self.state
    }

    /// Takes the slope that was asked for.
    pub(in crate::diffusion) fn take(&mut self, slope: Vec<f64>) -> Progress {
        self.evaluations += 1;
        self.slopes[self.stage] = slope;
        self.stage += 1;
        if self.stage == 7 {
            let error = self.error();
            // An error that is no number is too large.
            let accepted = error <= 1.0;
            let factor = if error.is_finite() { (0.9 * error.powf(-0.2)).clamp(0.2, 10.0) } else { 0.2 };
            if accepted {
                self.time += self.step;
                self.state.copy_from_slice(&self.asked);
                self.slopes.swap(0, 6);
                if self.end - self.time < self.least {
                    return Progress::Done;
                }
            }
            self.step *= if accepted && !self.refused { factor } else { factor.min(1.0) };
            self.refused = !accepted;
            if self.step < self.least {
                return Progress::Stuck;
            }
            self.step = self.step.min(self.most);
            // The last step ends at the end, without a sliver behind it.
            if self.time + 1.01 * self.step > self.end {
                self.step = self.end - self.time;
            }
            self.stage = 1;
        }
        self.ask();
        Progress::Asking
    }

    fn ask(&mut self) {
        let Self { asked, state, slopes, step, stage, .. } = self;
        for (i, asked) in asked.iter_mut().enumerate() {
            let slope: f64 =
                WEIGHTS[*stage].iter().zip(&slopes[..*stage]).map(|(weight, slope)| weight * slope[i]).sum();
            *asked = state[i] + *step * slope;
        }
    }

    /// The error of the step, as a part of what it may be.
    fn error(&self) -> f64 {
        let of = |i: usize| {
            let error: f64 = ERROR.iter().zip(&self.slopes).map(|(weight, slope)| weight * slope[i]).sum();
            let size = self.state[i].abs().max(self.asked[i].abs());
            self.step * error / (self.tolerance.absolute + self.tolerance.relative * size)
        };
        let squares: f64 = (0..self.state.len()).map(|i| of(i).powi(2)).sum();
        (squares / self.state.len() as f64).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// y0' = y0 cos t, y1' = -y1: the state at the end, and the slopes that it took.
    fn walk(tolerance: f64) -> ([f64; 2], usize) {
        let tolerance = Tolerance { absolute: tolerance, relative: tolerance };
        let mut path = Path::new([0.0, 5.0], vec![1.0, 1.0], tolerance);
        loop {
            let (t, y) = path.asks();
            let slope = vec![y[0] * t.cos(), -y[1]];
            match path.take(slope) {
                Progress::Asking => {}
                Progress::Done => return ([path.state()[0], path.state()[1]], path.evaluations),
                Progress::Stuck => panic!("stuck"),
            }
        }
    }

    #[test]
    fn smooth_paths_are_followed_to_the_tolerance() {
        let expected = [5.0f64.sin().exp(), (-5.0f64).exp()];
        let error = |found: [f64; 2]| (found[0] - expected[0]).abs().max((found[1] - expected[1]).abs());
        let (coarse, few) = walk(1e-4);
        let (fine, many) = walk(1e-9);
        assert!(error(coarse) < 1e-3 && error(fine) < 1e-8, "{:e} {:e}", error(coarse), error(fine));
        // Of order 5: a tolerance 10^5 times smaller takes 10 times the steps.
        assert!(few < many && many < 14 * few, "{few} {many}");
    }

    #[test]
    fn a_path_into_a_wall_is_stuck() {
        // y' = y^2 from 2 is infinite at 1/2.
        let mut path = Path::new([0.0, 1.0], vec![2.0], Tolerance { absolute: 1e-5, relative: 1e-5 });
        let stuck = (0..100_000).any(|_| {
            let slope = path.asks().1[0].powi(2);
            path.take(vec![slope]) == Progress::Stuck
        });
        assert!(stuck);
    }
}
