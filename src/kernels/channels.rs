//! Operations on the last dimension, the channels: joining two values, taking a part of one.

use super::{Case, Fill, parallel};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Twin, Value, shader};

/// Where channels lie in a row.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Channels of the whole row.
    stride: usize,
    /// The first of those that are meant.
    first: usize,
}

/// `y[row, to.first + k]` = `x[row, from.first + k]` for k in 0..count.
#[derive(Clone, Copy, Debug)]
struct CopyChannels {
    rows: usize,
    from: Place,
    to: Place,
    count: usize,
    /// Writes 0 to the other channels of y, which else stay as they are.
    fill_zero: bool,
}

impl CopyChannels {
    fn copy_row<T: Real>(&self, row: usize, x: &[T], y: &mut [T]) {
        if self.fill_zero {
            y.fill(T::zero());
        }
        let x = &x[row * self.from.stride + self.from.first..][..self.count];
        y[self.to.first..][..self.count].copy_from_slice(x);
    }

    /// The channels of a row of y that are written: the first, and how many.
    fn written(&self) -> (usize, usize) {
        if self.fill_zero { (0, self.to.stride) } else { (self.to.first, self.count) }
    }
}

impl<T: Real> Twin<T> for CopyChannels {
    fn twin(&self, io: &mut Bindings<T>) {
        let (x, y) = (io.read(0), io.write(1));
        for (row, y) in y.chunks_exact_mut(self.to.stride).enumerate() {
            self.copy_row(row, x, y);
        }
    }
}

impl Kernel for CopyChannels {
    fn shader(&self) -> Shader {
        shader!("copy_channels", "grid")
    }
    fn parameters(&self) -> Vec<u32> {
        let (first, width) = self.written();
        [self.rows, self.from.stride, self.from.first, self.to.stride, self.to.first, self.count, first, width]
            .map(|size| size as u32)
            .to_vec()
    }
    fn bindings(&self) -> Vec<Binding> {
        let y = self.rows * self.to.stride;
        let whole = self.written() == (0, self.to.stride);
        vec![Binding::read(self.rows * self.from.stride), if whole { Binding::write(y) } else { Binding::update(y) }]
    }
    fn groups(&self) -> usize {
        (self.rows * self.written().1).div_ceil(1024)
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let (x, y) = (io.read(0), io.write(1));
        parallel::for_rows(y, self.to.stride, #[inline(always)] |row, y| self.copy_row(row, x, y));
    }
}

/// The sizes before the last, and the last.
fn split_last<'a>(r: &'a Recorder, op: &'static str, x: Value) -> Result<(&'a [usize], usize)> {
    match r.shape(x) {
        [leading @ .., channels] if *channels > 0 => Ok((leading, *channels)),
        shape => Err(Error::Shape { op, message: format!("found shape {shape:?}, expected [.., channels]") }),
    }
}

/// a `[.., A]` and b `[.., B]` side by side: `[.., A + B]`.
///
/// # Errors
/// [`Shape`](Error::Shape) if a and b differ before the last size, or have no channels.
pub fn concat_channels(r: &mut Recorder, a: Value, b: Value) -> Result<Value> {
    const OP: &str = "concat_channels";
    let ((leading, from_a), (leading_b, from_b)) = (split_last(r, OP, a)?, split_last(r, OP, b)?);
    if leading != leading_b {
        let message = format!("{:?} and {:?} differ before the last size", r.shape(a), r.shape(b));
        return Err(Error::Shape { op: OP, message });
    }
    let rows: usize = leading.iter().product();
    let stride = from_a + from_b;
    let y = r.activation(&[leading, &[stride]].concat());
    let parts = [(a, from_a, 0), (b, from_b, from_a)];
    for (part, count, first) in parts {
        let (from, to) = (Place { stride: count, first: 0 }, Place { stride, first });
        r.call(CopyChannels { rows, from, to, count, fill_zero: false }, &[part, y]);
    }
    r.differentiable(y, &[a, b], move |r, dy| {
        for (part, count, first) in parts {
            if let Some(gradient) = r.new_gradient(part) {
                let (from, to) = (Place { stride, first }, Place { stride: count, first: 0 });
                r.call(CopyChannels { rows, from, to, count, fill_zero: false }, &[dy, gradient]);
            }
        }
        Ok(())
    });
    Ok(y)
}

/// Channels `first..first + count` of x `[.., C]`: `[.., count]`.
///
/// # Errors
/// [`Shape`](Error::Shape) if x does not have these channels, or `count` is 0.
pub fn slice_channels(r: &mut Recorder, x: Value, first: usize, count: usize) -> Result<Value> {
    let (leading, stride) = split_last(r, "slice_channels", x)?;
    if count == 0 || first + count > stride {
        let message = format!("channels {first}..{} of {:?} do not exist", first + count, r.shape(x));
        return Err(Error::Shape { op: "slice_channels", message });
    }
    let rows: usize = leading.iter().product();
    let (whole, slice) = (Place { stride, first }, Place { stride: count, first: 0 });
    let y = r.activation(&[leading, &[count]].concat());
    r.call(CopyChannels { rows, from: whole, to: slice, count, fill_zero: false }, &[x, y]);
    r.differentiable(y, &[x], move |r, dy| {
        if let Some(dx) = r.new_gradient(x) {
            r.call(CopyChannels { rows, from: slice, to: whole, count, fill_zero: true }, &[dy, dx]);
        }
        Ok(())
    });
    Ok(y)
}

/// One channel, odd sizes, more than one workgroup; a value beside itself, all channels, and a value cut in two.
pub(super) fn cases() -> Vec<Case> {
    let normal = || Fill::Normal(1.0);
    let concat = |a: &[usize], b: &[usize]| {
        Case::new(format!("concat_channels/{a:?} {b:?}"))
            .input(a, normal())
            .input(b, normal())
            .records(|r, v| Ok(vec![concat_channels(r, v[0], v[1])?]))
    };
    let slice = |x: &[usize], first: usize, count: usize| {
        Case::new(format!("slice_channels/{x:?} {first}..{}", first + count))
            .input(x, normal())
            .records(move |r, v| Ok(vec![slice_channels(r, v[0], first, count)?]))
    };
    vec![
        concat(&[1, 1], &[1, 1]),
        concat(&[2, 3, 5, 4], &[2, 3, 5, 3]),
        concat(&[3, 50, 24], &[3, 50, 9]),
        Case::new("concat_channels/with itself")
            .input(&[2, 3, 5], normal())
            .records(|r, v| Ok(vec![concat_channels(r, v[0], v[0])?])),
        slice(&[1, 1], 0, 1),
        slice(&[2, 3, 3, 7], 2, 3),
        slice(&[3, 50, 24], 0, 17),
        Case::new("slice_channels/in two")
            .input(&[2, 5, 9], normal())
            .records(|r, v| Ok(vec![slice_channels(r, v[0], 0, 4)?, slice_channels(r, v[0], 4, 5)?])),
    ]
}
