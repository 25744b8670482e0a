//! 2-D convolution and its two gradients, as implicit matrix products: no im2col in memory on the GPU, a block of it
//! at a time on the host.

mod host;
mod winograd;

use super::sum_rows::sum_rows;
use super::tiles::{after_tiles, tiles, vector_tiles};
use super::{Case, Fill, Geometry, parallel};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Kernel, Needs, Real, Recorder, Shader, Target, Twin, Value, Variant, shader};

/// Calls `term(output element, input element, weight element)` for every product of the convolution.
fn for_each_term(g: &Geometry, mut term: impl FnMut(usize, usize, usize)) {
    let (out_height, out_width) = (g.out_height(), g.out_width());
    for pixel in 0..g.out_pixels() {
        let (picture, row, column) = (pixel / (out_height * out_width), pixel / out_width % out_height, pixel % out_width);
        for tap in 0..g.kernel * g.kernel {
            let in_row = g.input_at(row, tap / g.kernel, g.height);
            let in_column = g.input_at(column, tap % g.kernel, g.width);
            let (Some(in_row), Some(in_column)) = (in_row, in_column) else { continue };
            let in_pixel = (picture * g.height + in_row) * g.width + in_column;
            for input in 0..g.inputs {
                for output in 0..g.outputs {
                    let weight = (tap * g.inputs + input) * g.outputs + output;
                    term(pixel * g.outputs + output, in_pixel * g.inputs + input, weight);
                }
            }
        }
    }
}

/// y = x * w (+ bias + a value for each picture and channel + residual).
#[derive(Clone, Copy, Debug)]
struct Forward {
    geometry: Geometry,
    has_bias: bool,
    has_per_picture: bool,
    has_residual: bool,
}

impl Forward {
    fn picture_pixels(&self) -> usize {
        self.geometry.out_height() * self.geometry.out_width()
    }

    fn tiles(&self, tile: [usize; 2]) -> usize {
        tiles(self.geometry.out_pixels(), self.geometry.outputs, tile)
    }
}

impl<T: Real> Twin<T> for Forward {
    fn twin(&self, io: &mut Bindings<T>) {
        let (x, w, bias, y) = (io.read(0), io.read(1), io.read(2), io.write(5));
        let (per_picture, residual) = (io.read(3), io.read(4));
        let outputs = self.geometry.outputs;
        for (index, y) in y.iter_mut().enumerate() {
            let added = |is_there: bool, from: &[T], index: usize| if is_there { from[index] } else { T::zero() };
            let (output, picture) = (index % outputs, index / outputs / self.picture_pixels());
            *y = added(self.has_bias, bias, output)
                + added(self.has_per_picture, per_picture, picture * outputs + output)
                + added(self.has_residual, residual, index);
        }
        for_each_term(&self.geometry, |output, input, weight| y[output] += x[input] * w[weight]);
    }
}

impl Kernel for Forward {
    fn shader(&self) -> Shader {
        shader!("convolution_forward", "grid", "geometry", "convolution_forward_sizes", "tile", "convolution_forward")
    }
    fn parameters(&self) -> Vec<u32> {
        let added = [self.has_bias, self.has_per_picture, self.has_residual].map(u32::from);
        [&self.geometry.parameters()[..], &added].concat()
    }
    fn bindings(&self) -> Vec<Binding> {
        let g = &self.geometry;
        vec![
            Binding::read(g.input_len()),
            Binding::read(g.weight_len()),
            Binding::read(if self.has_bias { g.outputs } else { g.weight_len() }),
            Binding::read(if self.has_per_picture { g.pictures * g.outputs } else { g.weight_len() }),
            Binding::read(if self.has_residual { g.output_len() } else { g.weight_len() }),
            Binding::write(g.output_len()),
        ]
    }
    fn groups(&self) -> usize {
        self.tiles([64, 64])
    }
    fn variants(&self) -> Vec<Variant> {
        let g = &self.geometry;
        let mut variants = vec![Variant::new("tile", self.shader(), self.groups())];
        if g.has_channels_in_fours() {
            let shaders = after_tiles!("convolution_forward_vec4", "grid", "geometry", "convolution_forward_sizes");
            variants.extend(vector_tiles(shaders, Vec::new(), |tile| self.tiles(tile)));
        }
        if g.outputs <= 4 && g.inputs.is_multiple_of(4) {
            // One thread a pixel, or up to 8 side by side, which read side by side.
            let sharers = (g.inputs / 4).next_power_of_two().min(8);
            let ways = [("few outputs", 1), ("few outputs shared", sharers)];
            variants.extend(ways.into_iter().take(sharers.min(2)).map(|(name, sharers)| {
                let few = shader!("convolution_forward_few", "grid", "geometry", "convolution_forward_sizes");
                let constants = vec![("outputs", g.outputs as f64), ("sharers", sharers as f64)];
                Variant { constants, ..Variant::new(name, few, g.out_pixels().div_ceil(64 / sharers)) }
            }));
        }
        let lanes = shader!("convolution_forward_lanes", "grid", "geometry", "convolution_forward_sizes", "lanes", "convolution_forward");
        variants.push(Variant::new("lanes", lanes, self.tiles([32, 16])).needing(Needs::Subgroups));
        variants
    }
    fn flops(&self) -> u64 {
        self.geometry.flops()
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let (x, w, bias, y) = (io.read(0), io.read(1), io.read(2), io.write(5));
        let (per_picture, residual) = (io.read(3), io.read(4));
        host::forward(&self.geometry, x, w, self.has_bias.then_some(bias), y);
        let outputs = self.geometry.outputs;
        if self.has_per_picture || self.has_residual {
            parallel::for_rows(y, outputs, #[inline(always)] |pixel, y| {
                if self.has_per_picture {
                    let picture = &per_picture[pixel / self.picture_pixels() * outputs..];
                    y.iter_mut().zip(picture).for_each(|(y, &added)| *y += added);
                }
                if self.has_residual {
                    y.iter_mut().zip(&residual[pixel * outputs..]).for_each(|(y, &added)| *y += added);
                }
            });
        }
    }
}

/// dx from dy and w.
#[derive(Clone, Copy, Debug)]
struct GradInput {
    geometry: Geometry,
}

impl GradInput {
    fn tiles(&self, tile: [usize; 2]) -> usize {
        tiles(self.geometry.in_pixels(), self.geometry.inputs, tile)
    }
}

impl<T: Real> Twin<T> for GradInput {
    fn twin(&self, io: &mut Bindings<T>) {
        let (dy, w, dx) = (io.read(0), io.read(1), io.write(2));
        dx.fill(T::zero());
        for_each_term(&self.geometry, |output, input, weight| dx[input] += dy[output] * w[weight]);
    }
}

impl Kernel for GradInput {
    fn shader(&self) -> Shader {
        shader!("convolution_grad_input", "grid", "geometry", "tile", "convolution_grad_input")
    }
    fn parameters(&self) -> Vec<u32> {
        self.geometry.parameters()
    }
    fn bindings(&self) -> Vec<Binding> {
        let g = &self.geometry;
        vec![Binding::read(g.output_len()), Binding::read(g.weight_len()), Binding::write(g.input_len())]
    }
    fn groups(&self) -> usize {
        self.tiles([64, 64])
    }
    fn variants(&self) -> Vec<Variant> {
        let g = &self.geometry;
        let mut variants = vec![Variant::new("tile", self.shader(), self.groups())];
        if g.has_channels_in_fours() {
            let shaders = after_tiles!("convolution_grad_input_vec4", "grid", "geometry");
            variants.extend(vector_tiles(shaders, Vec::new(), |tile| self.tiles(tile)));
        }
        let lanes = shader!("convolution_grad_input_lanes", "grid", "geometry", "lanes", "convolution_grad_input");
        variants.push(Variant::new("lanes", lanes, self.tiles([32, 16])).needing(Needs::Subgroups));
        variants
    }
    fn flops(&self) -> u64 {
        self.geometry.flops()
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let (dy, w, dx) = (io.read(0), io.read(1), io.write(2));
        host::grad_input(&self.geometry, dy, w, dx);
    }
}

/// Partial sums of dw, `[splits, weight]`, each over a run of output pixels.
#[derive(Clone, Copy, Debug)]
struct GradWeight {
    geometry: Geometry,
    splits: usize,
    /// A multiple of 4.
    pixels_per_split: usize,
}

impl GradWeight {
    /// Splits the pixels so that there are some 256 workgroups, of at least 512 pixels each. The number depends on
    /// the sizes alone: it decides the order of the sums.
    fn new(geometry: Geometry) -> Self {
        let tiles = tiles(geometry.depth(), geometry.outputs, [64, 64]);
        let splits = 256usize.div_ceil(tiles).min(geometry.out_pixels().div_ceil(512)).max(1);
        let pixels_per_split = geometry.out_pixels().div_ceil(splits).next_multiple_of(4).max(4);
        Self { geometry, pixels_per_split, splits: geometry.out_pixels().div_ceil(pixels_per_split).max(1) }
    }

    fn tiles(&self, tile: [usize; 2]) -> usize {
        self.splits * tiles(self.geometry.depth(), self.geometry.outputs, tile)
    }
}

impl<T: Real> Twin<T> for GradWeight {
    fn twin(&self, io: &mut Bindings<T>) {
        let (x, dy, partial) = (io.read(0), io.read(1), io.write(2));
        let g = &self.geometry;
        partial.fill(T::zero());
        for_each_term(g, |output, input, weight| {
            let split = output / g.outputs / self.pixels_per_split;
            partial[split * g.weight_len() + weight] += x[input] * dy[output];
        });
    }
}

impl Kernel for GradWeight {
    fn shader(&self) -> Shader {
        shader!("convolution_grad_weight", "grid", "geometry", "convolution_grad_weight_sizes", "tile", "convolution_grad_weight")
    }
    fn parameters(&self) -> Vec<u32> {
        [self.geometry.parameters(), vec![self.splits as u32, self.pixels_per_split as u32]].concat()
    }
    fn bindings(&self) -> Vec<Binding> {
        let g = &self.geometry;
        vec![
            Binding::read(g.input_len()),
            Binding::read(g.output_len()),
            Binding::write(self.splits * g.weight_len()),
        ]
    }
    fn groups(&self) -> usize {
        self.tiles([64, 64])
    }
    fn variants(&self) -> Vec<Variant> {
        let g = &self.geometry;
        let mut variants = vec![Variant::new("tile", self.shader(), self.groups())];
        if g.has_channels_in_fours() && g.out_width().is_multiple_of(4) {
            let shaders = after_tiles!("convolution_grad_weight_vec4", "grid", "geometry", "convolution_grad_weight_sizes");
            let constants = vec![("out_height", g.out_height() as f64), ("out_width", g.out_width() as f64)];
            variants.extend(vector_tiles(shaders, constants, |tile| self.tiles(tile)));
        }
        let lanes = shader!("convolution_grad_weight_lanes", "grid", "geometry", "convolution_grad_weight_sizes", "lanes", "convolution_grad_weight");
        variants.push(Variant::new("lanes", lanes, self.tiles([32, 16])).needing(Needs::Subgroups));
        variants
    }
    fn flops(&self) -> u64 {
        self.geometry.flops()
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let (x, dy, partial) = (io.read(0), io.read(1), io.write(2));
        host::grad_weight(&self.geometry, self.pixels_per_split, x, dy, partial);
    }
}

/// How a convolution moves over its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Pixels from one output to the next.
    pub stride: usize,
    /// Zeros before the first row and column.
    pub before: usize,
    /// Zeros after the last row and column.
    pub after: usize,
}

/// What is added to a convolution's result while it is at hand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Added {
    /// `[outputs]`.
    pub bias: Option<Value>,
    /// `[pictures, outputs]`: a time embedding.
    pub per_picture: Option<Value>,
    /// Of the result's shape.
    pub residual: Option<Value>,
}

/// Convolution of x `[pictures, height, width, inputs]` with w `[kernel, kernel, inputs, outputs]`, plus bias `[outputs]`.
///
/// # Errors
/// [`Shape`](Error::Shape) if the sizes do not fit together.
pub fn convolution(r: &mut Recorder, x: Value, w: Value, bias: Option<Value>, window: Window) -> Result<Value> {
    convolution_plus(r, x, w, Added { bias, ..Added::default() }, window)
}

/// [`convolution`], with all that can be added to it.
///
/// # Errors
/// [`Shape`](Error::Shape) if the sizes do not fit together.
pub fn convolution_plus(r: &mut Recorder, x: Value, w: Value, added: Added, window: Window) -> Result<Value> {
    let Added { bias, per_picture, residual } = added;
    let [pictures, height, width, inputs] = r.dims("convolution", x)?;
    let [kernel, kernel_width, w_inputs, outputs] = r.dims("convolution", w)?;
    let Window { stride, before, after } = window;
    let bias_fits = bias.is_none_or(|bias| r.shape(bias) == [outputs]);
    let covered = kernel <= height.min(width) + before + after;
    if kernel != kernel_width || inputs != w_inputs || !bias_fits || stride == 0 || !covered {
        let message = format!("x {:?}, w {:?}, {window:?} do not fit", r.shape(x), r.shape(w));
        return Err(Error::Shape { op: "convolution", message });
    }
    let geometry = Geometry { pictures, height, width, inputs, outputs, kernel, stride, before, after };
    let shape = [pictures, geometry.out_height(), geometry.out_width(), outputs];
    let per_picture_fits = per_picture.is_none_or(|value| r.shape(value) == [pictures, outputs]);
    if !per_picture_fits || residual.is_some_and(|value| r.shape(value) != shape) {
        let shapes = [per_picture, residual].map(|value| value.map(|value| r.shape(value).to_vec()));
        let message = format!("what is added, per picture and residual, {shapes:?}, does not fit {shape:?}");
        return Err(Error::Shape { op: "convolution", message });
    }
    let y = r.activation(&shape);
    let kernel = Forward {
        geometry,
        has_bias: bias.is_some(),
        has_per_picture: per_picture.is_some(),
        has_residual: residual.is_some(),
    };
    let [bias_or_any, per_picture_or_any, residual_or_any] = [bias, per_picture, residual].map(|value| value.unwrap_or(w));
    r.call(kernel, &[x, w, bias_or_any, per_picture_or_any, residual_or_any, y]);
    let inputs = [Some(x), Some(w), bias, per_picture, residual];
    r.differentiable(y, &inputs.into_iter().flatten().collect::<Vec<_>>(), move |r, dy| {
        if let Some(dx) = r.new_gradient(x) {
            r.call(GradInput { geometry }, &[dy, w, dx]);
        }
        if let Some(dw) = r.gradient_target(w) {
            grad_weight(r, geometry, x, dy, dw)?;
        }
        // The sums over each picture's pixels are also what the bias's gradient is made of.
        let of_pictures = per_picture.filter(|&value| r.needs_gradient(value)).map(|_| r.f32(&[pictures, outputs]));
        if let (Some(sums), Some(per_picture)) = (of_pictures, per_picture) {
            let target = Target { value: sums, accumulate: false };
            sum_rows(r, dy, pictures, geometry.out_height() * geometry.out_width(), outputs, target)?;
            r.pass_gradient(per_picture, sums);
        }
        if let Some(target) = bias.and_then(|bias| r.gradient_target(bias)) {
            match of_pictures {
                Some(sums) => sum_rows(r, sums, 1, pictures, outputs, target)?,
                None => sum_rows(r, dy, 1, geometry.out_pixels(), outputs, target)?,
            }
        }
        if let Some(residual) = residual {
            r.pass_gradient(residual, dy);
        }
        Ok(())
    });
    Ok(y)
}

fn grad_weight(r: &mut Recorder, geometry: Geometry, x: Value, dy: Value, dw: Target) -> Result<()> {
    let kernel = GradWeight::new(geometry);
    if kernel.splits == 1 && !dw.accumulate {
        r.call(kernel, &[x, dy, dw.value]);
        return Ok(());
    }
    let partial = r.f32(&[kernel.splits, geometry.weight_len()]);
    r.call(kernel, &[x, dy, partial]);
    sum_rows(r, partial, 1, kernel.splits, geometry.weight_len(), dw)
}

/// Kernel sizes 1 and 3, strides 1 and 2, both paddings, odd sizes, more than one tile and more than one split.
pub(super) fn cases() -> Vec<Case> {
    let same = Window { stride: 1, before: 1, after: 1 };
    let halving = Window { stride: 2, ..same };
    let asymmetric = Window { stride: 2, before: 0, after: 1 };
    let pointwise = Window { stride: 1, before: 0, after: 0 };
    let shapes: [(&str, [usize; 4], usize, usize, Window); 22] = [
        ("one element", [1, 1, 1, 1], 1, 3, same),
        ("3x3", [2, 8, 8, 4], 6, 3, same),
        ("3x3 odd", [1, 7, 5, 3], 5, 3, same),
        ("3x3 stride 2", [2, 8, 8, 4], 6, 3, halving),
        ("3x3 stride 2 odd", [3, 7, 9, 5], 3, 3, halving),
        ("3x3 stride 2 right and bottom padding", [2, 8, 6, 4], 6, 3, asymmetric),
        ("1x1", [2, 5, 5, 7], 9, 1, pointwise),
        ("1x1 stride 2", [1, 6, 6, 3], 4, 1, Window { stride: 2, ..pointwise }),
        ("tiles", [1, 9, 11, 9], 70, 3, same),
        ("splits", [3, 15, 16, 2], 3, 3, same),
        ("fours", [2, 9, 8, 20], 72, 3, same),
        ("fours, large tiles", [1, 11, 12, 12], 132, 3, same),
        ("fours stride 2", [1, 9, 8, 4], 8, 3, halving),
        ("fours right and bottom padding", [1, 8, 8, 8], 4, 3, asymmetric),
        ("fours and splits", [2, 16, 20, 4], 4, 3, same),
        ("3x3 of 16 and 33 channels", [2, 7, 9, 16], 33, 3, same),
        ("3x3 of 65 and 17 channels, right and bottom padding", [1, 8, 11, 65], 17, 3, Window { before: 0, ..same }),
        ("3x3 of 17 and 16 channels, splits", [3, 14, 13, 17], 16, 3, same),
        ("fours to 1", [2, 9, 7, 20], 1, 3, same),
        ("fours to 2, right and bottom padding", [1, 8, 10, 4], 2, 3, asymmetric),
        ("fours to 3, stride 2", [3, 7, 9, 36], 3, 3, halving),
        ("1x1 of fours to 4", [1, 11, 13, 132], 4, 1, pointwise),
    ];
    let mut cases = Vec::new();
    for (name, x, outputs, kernel, window) in shapes {
        for has_bias in [true, false] {
            let name = format!("convolution/{name}{}", if has_bias { "" } else { " without bias" });
            let case = Case::new(name)
                .input(&x, Fill::Normal(1.0))
                .input(&[kernel, kernel, x[3], outputs], Fill::Normal(0.3));
            let case = if has_bias { case.input(&[outputs], Fill::Normal(1.0)) } else { case };
            cases.push(case.records(move |r, v| Ok(vec![convolution(r, v[0], v[1], v.get(2).copied(), window)?])));
        }
    }
    for (name, [height, width, inputs, outputs]) in [
        ("odd", [3, 5, 3, 5]),
        ("fours", [5, 8, 8, 68]),
        ("fours to 3", [5, 7, 12, 3]),
    ] {
        let case = Case::new(format!("convolution/{name} plus all"))
            .input(&[2, height, width, inputs], Fill::Normal(1.0))
            .input(&[3, 3, inputs, outputs], Fill::Normal(0.3))
            .input(&[outputs], Fill::Normal(1.0))
            .input(&[2, outputs], Fill::Normal(1.0))
            .input(&[2, height, width, outputs], Fill::Normal(1.0));
        cases.push(case.records(move |r, v| {
            let added = Added { bias: Some(v[2]), per_picture: Some(v[3]), residual: Some(v[4]) };
            Ok(vec![convolution_plus(r, v[0], v[1], added, same)?])
        }));
    }
    cases
}
