//! The activation functions that diffusers knows: SiLU, Mish (Misra 2020, arXiv 1908.08681), GELU (Hendrycks & Gimpel
//! 2016, arXiv 1606.08415, with the exact normal distribution), ReLU.

use super::silu::silu;
use super::vector::exp;
use super::{Case, Fill, parallel};
use crate::error::Result;
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Twin, Value, shader};
use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// Which function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// x sigmoid(x).
    #[default]
    Silu,
    /// x tanh(log(1 + e^x)).
    Mish,
    /// x times the share of a standard normal distribution that is below x.
    Gelu,
    /// max(x, 0).
    Relu,
}

/// The functions that these kernels have; SiLU has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Mish = 1,
    Gelu = 2,
    Relu = 3,
}

/// 1 - erf(x), by the series of erf with terms of one sign; right to a few units in the last place of 1.
pub(super) fn erfc<T: Real>(x: T) -> T {
    if x.abs() > T::from_f64(7.0) {
        return if x > T::zero() { T::zero() } else { T::from_f64(2.0) };
    }
    let (mut term, mut sum, mut n) = (x, x, T::one());
    while term.abs() > T::epsilon() * sum.abs() * T::from_f64(0.1) {
        term *= T::from_f64(2.0) * x * x / (T::from_f64(2.0) * n + T::one());
        sum += term;
        n += T::one();
    }
    T::one() - sum * (-x * x).exp() * T::from_f64(2.0 / PI.sqrt())
}

/// [`erfc`] in vector instructions, to 3e-7 of itself (Press et al., Numerical Recipes, 2nd ed., section 6.2).
#[inline(always)]
fn fast_erfc(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.5 * x.abs());
    let p = 0.170_872_77;
    let p = p * t - 0.822_152_23;
    let p = p * t + 1.488_515_9;
    let p = p * t - 1.135_204;
    let p = p * t + 0.278_868_07;
    let p = p * t - 0.186_288_06;
    let p = p * t + 0.096_784_18;
    let p = p * t + 0.374_091_96;
    let p = p * t + 1.000_023_7;
    let tail = t * exp(p * t - x * x - 1.265_512_2);
    if x >= 0.0 { tail } else { 2.0 - tail }
}

impl Function {
    fn of<T: Real>(self, x: T) -> T {
        let [half, two] = [0.5, 2.0].map(T::from_f64);
        match self {
            Self::Mish => {
                let e = x.min(T::from_f64(20.0)).exp();
                let n = e * (e + two);
                x * (n / (n + two))
            }
            Self::Gelu => half * x * erfc(-T::from_f64(FRAC_1_SQRT_2) * x),
            // A comparison leaves NaN as it is; max would hide it.
            Self::Relu if x < T::zero() => T::zero(),
            Self::Relu => x,
        }
    }

    fn slope<T: Real>(self, x: T) -> T {
        let [half, two, four] = [0.5, 2.0, 4.0].map(T::from_f64);
        match self {
            Self::Mish => {
                let e = x.min(T::from_f64(20.0)).exp();
                let n = e * (e + two);
                let d = n + two;
                n / d + x * (four * e / d * ((e + T::one()) / d))
            }
            Self::Gelu => {
                let density = (-half * x * x).exp() * T::from_f64((2.0 * PI).sqrt().recip());
                half * erfc(-T::from_f64(FRAC_1_SQRT_2) * x) + x * density
            }
            Self::Relu if x > T::zero() => T::one(),
            Self::Relu => T::zero(),
        }
    }

    /// [`Function::of`] in vector instructions.
    #[inline(always)]
    fn fast(self, x: f32) -> f32 {
        match self {
            Self::Mish => {
                let e = exp(x.min(20.0));
                let n = e * (e + 2.0);
                x * (n / (n + 2.0))
            }
            Self::Gelu => 0.5 * x * fast_erfc(-std::f32::consts::FRAC_1_SQRT_2 * x),
            Self::Relu if x < 0.0 => 0.0,
            Self::Relu => x,
        }
    }

    /// [`Function::slope`] in vector instructions.
    #[inline(always)]
    fn fast_slope(self, x: f32) -> f32 {
        match self {
            Self::Mish => {
                let e = exp(x.min(20.0));
                let n = e * (e + 2.0);
                let d = n + 2.0;
                n / d + x * (4.0 * e / d * ((e + 1.0) / d))
            }
            Self::Gelu => {
                let density = exp(-0.5 * x * x) * 0.398_942_3;
                0.5 * fast_erfc(-std::f32::consts::FRAC_1_SQRT_2 * x) + x * density
            }
            Self::Relu => f32::from(x > 0.0),
        }
    }
}

/// y = f(x).
#[derive(Clone, Copy, Debug)]
struct Forward {
    len: usize,
    function: Function,
}

impl<T: Real> Twin<T> for Forward {
    fn twin(&self, io: &mut Bindings<T>) {
        let (x, y) = (io.read(0), io.write(1));
        for i in 0..self.len {
            y[i] = self.function.of(x[i]);
        }
    }
}

impl Kernel for Forward {
    fn shader(&self) -> Shader {
        shader!("activation_forward", "grid", "erfc", "activation")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.len as u32, self.function as u32]
    }
    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(self.len), Binding::write(self.len)]
    }
    fn groups(&self) -> usize {
        self.len.div_ceil(1024)
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let (x, y) = (io.read(0), io.write(1));
        let function = self.function;
        parallel::for_elements(
            y,
            #[inline(always)]
            |first, y| {
                for (y, &x) in y.iter_mut().zip(&x[first..]) {
                    *y = function.fast(x);
                }
            },
        );
    }
}

/// dx = dy f'(x).
#[derive(Clone, Copy, Debug)]
struct Backward {
    len: usize,
    function: Function,
}

impl<T: Real> Twin<T> for Backward {
    fn twin(&self, io: &mut Bindings<T>) {
        let (x, dy, dx) = (io.read(0), io.read(1), io.write(2));
        for i in 0..self.len {
            dx[i] = dy[i] * self.function.slope(x[i]);
        }
    }
}

impl Kernel for Backward {
    fn shader(&self) -> Shader {
        shader!("activation_backward", "grid", "erfc", "activation")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.len as u32, self.function as u32]
    }
    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(self.len), Binding::read(self.len), Binding::write(self.len)]
    }
    fn groups(&self) -> usize {
        self.len.div_ceil(1024)
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let (x, dy, dx) = (io.read(0), io.read(1), io.write(2));
        let function = self.function;
        parallel::for_elements(
            dx,
            #[inline(always)]
            |first, dx| {
                for ((dx, &dy), &x) in dx.iter_mut().zip(&dy[first..]).zip(&x[first..]) {
                    *dx = dy * function.fast_slope(x);
                }
            },
        );
    }
}

/// The function of every element; any shape.
///
/// # Errors
/// As [`silu`].
pub fn activation(r: &mut Recorder, x: Value, activation: Activation) -> Result<Value> {
    let function = match activation {
        Activation::Silu => return silu(r, x),
        Activation::Mish => Function::Mish,
        Activation::Gelu => Function::Gelu,
        Activation::Relu => Function::Relu,
    };
    let shape = r.shape(x).to_vec();
    let len = r.len(x);
    let y = r.activation(&shape);
    r.call(Forward { len, function }, &[x, y]);
    r.differentiable(y, &[x], move |r, dy| {
        if let Some(dx) = r.new_gradient(x) {
            r.call(Backward { len, function }, &[x, dy, dx]);
        }
        Ok(())
    });
    Ok(y)
}

/// One element, an odd number, more than one workgroup; where exponentials are not finite.
pub(super) fn cases() -> Vec<Case> {
    let functions = [Activation::Mish, Activation::Gelu, Activation::Relu];
    let sizes = [(1, 4.0), (77, 1.0), (2500, 4.0), (90, 100.0)];
    (functions.into_iter())
        .flat_map(|function| {
            sizes.map(|(len, deviation)| {
                Case::new(format!("activation/{function:?} {len}, deviation {deviation}"))
                    .input(&[len], Fill::Normal(deviation))
                    .records(move |r, v| Ok(vec![activation(r, v[0], function)?]))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{erfc, fast_erfc};

    #[test]
    fn the_error_function_is_right() {
        // To 16 places, from tables.
        for (x, expected) in [
            (0.0f64, 1.0),
            (0.5, 0.479_500_122_186_953_5),
            (1.0, 0.157_299_207_050_285_1),
            (-1.0, 1.842_700_792_949_715),
            (3.0, 2.209_049_699_858_544e-5),
        ] {
            assert!((erfc(x) - expected).abs() < 3e-15, "erfc({x}) = {}", erfc(x));
            let fast = f64::from(fast_erfc(x as f32));
            assert!((fast / expected - 1.0).abs() < 2e-6, "erfc({x}) = {fast}, in single precision");
        }
    }
}
