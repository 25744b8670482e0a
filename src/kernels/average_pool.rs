//! Average pooling over 2x2 blocks.

use super::upsample::Upsample;
use super::{Case, Fill, parallel};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Twin, Value, shader};

/// `y[i, j]` = scale times the sum of `x[2i + a, 2j + b]` over a, b in {0, 1}: x `[2 rows, 2 width, channels]` ->
/// y `[rows, width, channels]`. The transpose of [`Upsample`]; its rows are those of all pictures too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pool {
    /// Pictures times the height of y.
    pub(super) rows: usize,
    /// Width of y.
    pub(super) width: usize,
    pub(super) channels: usize,
    pub(super) scale: f32,
}

impl<T: Real> Twin<T> for Pool {
    fn twin(&self, io: &mut Bindings<T>) {
        let (x, y) = (io.read(0), io.write(1));
        for row in 0..self.rows {
            for column in 0..self.width {
                for channel in 0..self.channels {
                    let at = |a: usize, b: usize| {
                        x[((2 * row + a) * 2 * self.width + 2 * column + b) * self.channels + channel]
                    };
                    y[(row * self.width + column) * self.channels + channel] =
                        T::from_f32(self.scale) * (at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1));
                }
            }
        }
    }
}

impl Kernel for Pool {
    fn shader(&self) -> Shader {
        shader!("pool_2x2", "grid")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.rows as u32, self.width as u32, self.channels as u32, self.scale.to_bits()]
    }
    fn bindings(&self) -> Vec<Binding> {
        let len = self.rows * self.width * self.channels;
        vec![Binding::read(4 * len), Binding::write(len)]
    }
    fn groups(&self) -> usize {
        (self.rows * self.width * self.channels).div_ceil(1024)
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let (x, y) = (io.read(0), io.write(1));
        let (len, pixel) = (self.width * self.channels, self.channels);
        parallel::for_rows(y, len, #[inline(always)] |row, y| {
            let (upper, lower) = x[row * 4 * len..][..4 * len].split_at(2 * len);
            let blocks = upper.chunks_exact(2 * pixel).zip(lower.chunks_exact(2 * pixel));
            for (y, (upper, lower)) in y.chunks_exact_mut(pixel).zip(blocks) {
                for i in 0..pixel {
                    y[i] = self.scale * (upper[i] + upper[pixel + i] + lower[i] + lower[pixel + i]);
                }
            }
        });
    }
}

/// Average of each 2x2 block, x `[N, H, W, C]` -> `[N, H / 2, W / 2, C]`; H and W must be even.
///
/// # Errors
/// [`Shape`](Error::Shape) if x has other than four sizes, or an odd height or width.
pub fn average_pool(r: &mut Recorder, x: Value) -> Result<Value> {
    let [pictures, height, width, channels] = r.dims("average_pool", x)?;
    if height % 2 != 0 || width % 2 != 0 {
        let message = format!("found {:?}, expected an even height and width", r.shape(x));
        return Err(Error::Shape { op: "average_pool", message });
    }
    let (height, width) = (height / 2, width / 2);
    let rows = pictures * height;
    let y = r.activation(&[pictures, height, width, channels]);
    r.call(Pool { rows, width, channels, scale: 0.25 }, &[x, y]);
    r.differentiable(y, &[x], move |r, dy| {
        if let Some(dx) = r.new_gradient(x) {
            r.call(Upsample { rows, width, channels, scale: 0.25 }, &[dy, dx]);
        }
        Ok(())
    });
    Ok(y)
}

/// One block, odd numbers of blocks, and more than one workgroup.
pub(super) fn cases() -> Vec<Case> {
    [[1, 2, 2, 1], [2, 6, 10, 3], [2, 12, 8, 60]]
        .into_iter()
        .map(|shape| {
            Case::new(format!("average_pool/{shape:?}"))
                .input(&shape, Fill::Normal(1.0))
                .records(|r, v| Ok(vec![average_pool(r, v[0])?]))
        })
        .collect()
}
