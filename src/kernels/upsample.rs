//! Upsampling to twice the height and width by repeating every pixel in a 2x2 block.

use super::average_pool::Pool;
use super::{Case, Fill, parallel};
use crate::error::Result;
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Twin, Value, shader};

/// `y[2i + a, 2j + b]` = scale `x[i, j]` for a, b in {0, 1}: x `[rows, width, channels]` -> y [2 rows, 2 width,
/// channels]. The rows are those of all pictures: a 2x2 block never crosses from one picture to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Upsample {
    /// Pictures times the height of x.
    pub(super) rows: usize,
    /// Width of x.
    pub(super) width: usize,
    pub(super) channels: usize,
    pub(super) scale: f32,
}

impl<T: Real> Twin<T> for Upsample {
    fn twin(&self, io: &mut Bindings<T>) {
        let (x, y) = (io.read(0), io.write(1));
        for row in 0..2 * self.rows {
            for column in 0..2 * self.width {
                for channel in 0..self.channels {
                    let pixel = row / 2 * self.width + column / 2;
                    y[(row * 2 * self.width + column) * self.channels + channel] =
                        T::from_f32(self.scale) * x[pixel * self.channels + channel];
                }
            }
        }
    }
}

impl Kernel for Upsample {
    fn shader(&self) -> Shader {
        shader!("upsample_nearest", "grid")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.rows as u32, self.width as u32, self.channels as u32, self.scale.to_bits()]
    }
    fn bindings(&self) -> Vec<Binding> {
        let len = self.rows * self.width * self.channels;
        vec![Binding::read(len), Binding::write(4 * len)]
    }
    fn groups(&self) -> usize {
        (4 * self.rows * self.width * self.channels).div_ceil(1024)
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let (x, y) = (io.read(0), io.write(1));
        let len = self.width * self.channels;
        parallel::for_rows(y, 2 * len, #[inline(always)] |row, y| {
            let x = &x[row / 2 * len..][..len];
            for (y, x) in y.chunks_exact_mut(2 * self.channels).zip(x.chunks_exact(self.channels)) {
                for y in y.chunks_exact_mut(self.channels) {
                    for (y, &x) in y.iter_mut().zip(x) {
                        *y = self.scale * x;
                    }
                }
            }
        });
    }
}

/// Nearest-neighbour upsampling by 2, x `[N, H, W, C]` -> `[N, 2H, 2W, C]`.
///
/// # Errors
/// [`Shape`](crate::Error::Shape) if x has other than four sizes.
pub fn upsample(r: &mut Recorder, x: Value) -> Result<Value> {
    let [pictures, height, width, channels] = r.dims("upsample", x)?;
    let rows = pictures * height;
    let y = r.activation(&[pictures, 2 * height, 2 * width, channels]);
    r.call(Upsample { rows, width, channels, scale: 1.0 }, &[x, y]);
    r.differentiable(y, &[x], move |r, dy| {
        if let Some(dx) = r.new_gradient(x) {
            r.call(Pool { rows, width, channels, scale: 1.0 }, &[dy, dx]);
        }
        Ok(())
    });
    Ok(y)
}

/// One pixel, odd sizes, and more than one workgroup.
pub(super) fn cases() -> Vec<Case> {
    [[1, 1, 1, 1], [2, 3, 5, 7], [2, 6, 8, 40]]
        .into_iter()
        .map(|shape| {
            Case::new(format!("upsample/{shape:?}"))
                .input(&shape, Fill::Normal(1.0))
                .records(|r, v| Ok(vec![upsample(r, v[0])?]))
        })
        .collect()
}
