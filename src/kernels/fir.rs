//! Resampling with the smoothing filter (1, 3, 3, 1) along each side, zero outside the picture, as the networks of Song
//! et al. 2021 (arXiv 2011.13456) do it after Karras et al. 2019 (StyleGAN2, arXiv 1912.04958).

use super::{Case, Fill, parallel};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Twin, Value, shader};

/// Pictures of the smaller side's sizes, and what the sums are multiplied with.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    pictures: usize,
    height: usize,
    width: usize,
    channels: usize,
    scale: f32,
}

impl Sizes {
    fn small(&self) -> usize {
        self.pictures * self.height * self.width * self.channels
    }
    fn parameters(&self) -> Vec<u32> {
        let Self { pictures, height, width, channels, scale } = *self;
        vec![pictures as u32, height as u32, width as u32, channels as u32, scale.to_bits()]
    }
    /// Calls `term(small pixel, large pixel, weight)` for all taps of a row of small pixels.
    #[inline(always)]
    fn for_row(&self, row: usize, mut term: impl FnMut(usize, usize, f32)) {
        const FILTER: [f32; 4] = [1.0, 3.0, 3.0, 1.0];
        let (picture, y) = (row / self.height, row % self.height);
        for (v, of_row) in FILTER.into_iter().enumerate() {
            let Some(large_y) = (2 * y + v).checked_sub(1).filter(|&place| place < 2 * self.height) else { continue };
            for x in 0..self.width {
                for (u, of_column) in FILTER.into_iter().enumerate() {
                    let place = (2 * x + u).checked_sub(1).filter(|&place| place < 2 * self.width);
                    let Some(large_x) = place else { continue };
                    let large = (picture * 2 * self.height + large_y) * 2 * self.width + large_x;
                    term(row * self.width + x, large, of_row * of_column);
                }
            }
        }
    }
}

/// To half the height and width.
#[derive(Clone, Copy, Debug)]
struct Down(Sizes);

impl<T: Real> Twin<T> for Down {
    fn twin(&self, io: &mut Bindings<T>) {
        let Self(sizes) = self;
        let (x, y) = (io.read(0), io.write(1));
        y.fill(T::zero());
        for row in 0..sizes.pictures * sizes.height {
            sizes.for_row(row, |small, large, weight| {
                for channel in 0..sizes.channels {
                    let factor = T::from_f32(weight) * T::from_f32(sizes.scale);
                    y[small * sizes.channels + channel] += factor * x[large * sizes.channels + channel];
                }
            });
        }
    }
}

impl Kernel for Down {
    fn shader(&self) -> Shader {
        shader!("fir_down", "grid")
    }
    fn parameters(&self) -> Vec<u32> {
        self.0.parameters()
    }
    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(4 * self.0.small()), Binding::write(self.0.small())]
    }
    fn groups(&self) -> usize {
        self.0.small().div_ceil(1024)
    }
    fn flops(&self) -> u64 {
        32 * self.0.small() as u64
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let Self(sizes) = self;
        let (x, y) = (io.read(0), io.write(1));
        let (channels, first) = (sizes.channels, sizes.width);
        parallel::for_rows(
            y,
            first * channels,
            #[inline(always)]
            |row, y| {
                y.fill(0.0);
                sizes.for_row(
                    row,
                    #[inline(always)]
                    |small, large, weight| {
                        let (factor, x) = (weight * sizes.scale, &x[large * channels..][..channels]);
                        let y = &mut y[(small - row * first) * channels..][..channels];
                        y.iter_mut().zip(x).for_each(|(y, &x)| *y += factor * x);
                    },
                );
            },
        );
    }
}

/// To twice the height and width: the transpose of [`Down`].
#[derive(Clone, Copy, Debug)]
struct Up(Sizes);

impl<T: Real> Twin<T> for Up {
    fn twin(&self, io: &mut Bindings<T>) {
        let Self(sizes) = self;
        let (x, y) = (io.read(0), io.write(1));
        y.fill(T::zero());
        for row in 0..sizes.pictures * sizes.height {
            sizes.for_row(row, |small, large, weight| {
                for channel in 0..sizes.channels {
                    let factor = T::from_f32(weight) * T::from_f32(sizes.scale);
                    y[large * sizes.channels + channel] += factor * x[small * sizes.channels + channel];
                }
            });
        }
    }
}

impl Kernel for Up {
    fn shader(&self) -> Shader {
        shader!("fir_up", "grid")
    }
    fn parameters(&self) -> Vec<u32> {
        self.0.parameters()
    }
    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(self.0.small()), Binding::write(4 * self.0.small())]
    }
    fn groups(&self) -> usize {
        (4 * self.0.small()).div_ceil(1024)
    }
    fn flops(&self) -> u64 {
        32 * self.0.small() as u64
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let Self(sizes) = self;
        let (x, y) = (io.read(0), io.write(1));
        let channels = sizes.channels;
        let picture = sizes.height * sizes.width * channels;
        parallel::for_rows(
            y,
            4 * picture,
            #[inline(always)]
            |number, y| {
                y.fill(0.0);
                for row in number * sizes.height..(number + 1) * sizes.height {
                    sizes.for_row(
                        row,
                        #[inline(always)]
                        |small, large, weight| {
                            let (factor, x) = (weight * sizes.scale, &x[small * channels..][..channels]);
                            let y = &mut y[large * channels - number * 4 * picture..][..channels];
                            y.iter_mut().zip(x).for_each(|(y, &x)| *y += factor * x);
                        },
                    );
                }
            },
        );
    }
}

/// Half the height and width of x `[N, H, W, C]`, both even, by the filter, whose weights sum to 1.
///
/// # Errors
/// [`Shape`](Error::Shape) if x has other than four sizes, or an odd height or width.
pub fn fir_down(r: &mut Recorder, x: Value) -> Result<Value> {
    let [pictures, height, width, channels] = r.dims("fir_down", x)?;
    if height % 2 != 0 || width % 2 != 0 {
        let message = format!("found {:?}, expected an even height and width", r.shape(x));
        return Err(Error::Shape { op: "fir_down", message });
    }
    let sizes = Sizes { pictures, height: height / 2, width: width / 2, channels, scale: 1.0 / 64.0 };
    let y = r.activation(&[pictures, height / 2, width / 2, channels]);
    r.call(Down(sizes), &[x, y]);
    r.differentiable(y, &[x], move |r, dy| {
        if let Some(dx) = r.new_gradient(x) {
            r.call(Up(sizes), &[dy, dx]);
        }
        Ok(())
    });
    Ok(y)
}

/// Twice the height and width of x `[N, H, W, C]` by the filter, whose weights sum to 1 at every pixel.
///
/// # Errors
/// [`Shape`](Error::Shape) if x has other than four sizes.
pub fn fir_up(r: &mut Recorder, x: Value) -> Result<Value> {
    let [pictures, height, width, channels] = r.dims("fir_up", x)?;
    let sizes = Sizes { pictures, height, width, channels, scale: 1.0 / 16.0 };
    let y = r.activation(&[pictures, 2 * height, 2 * width, channels]);
    r.call(Up(sizes), &[x, y]);
    r.differentiable(y, &[x], move |r, dy| {
        if let Some(dx) = r.new_gradient(x) {
            r.call(Down(sizes), &[dy, dx]);
        }
        Ok(())
    });
    Ok(y)
}

/// One pixel, odd sizes, more than one workgroup.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for shape @ [pictures, height, width, channels] in [[1, 1, 1, 1], [2, 3, 5, 7], [2, 6, 8, 40]] {
        let large = [pictures, 2 * height, 2 * width, channels];
        cases.push(
            Case::new(format!("fir_up/{shape:?}"))
                .input(&shape, Fill::Normal(1.0))
                .records(|r, v| Ok(vec![fir_up(r, v[0])?])),
        );
        cases.push(
            Case::new(format!("fir_down/{large:?}"))
                .input(&large, Fill::Normal(1.0))
                .records(|r, v| Ok(vec![fir_down(r, v[0])?])),
        );
    }
    cases
}
