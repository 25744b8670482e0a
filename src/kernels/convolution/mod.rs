//! 2-D convolution and its two gradients, as implicit matrix products: no im2col in memory on the GPU, a block of it
//! at a time on the host.

mod host;
mod winograd;

use super::sum_rows::sum_rows;
use super::{Case, Fill, Geometry};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Target, Twin, Value, Variant, shader, tiles};

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

/// y = x * w (+ bias).
#[derive(Clone, Copy, Debug)]
struct Forward {
    geometry: Geometry,
    has_bias: bool,
}

impl<T: Real> Twin<T> for Forward {
    fn twin(&self, io: &mut Bindings<T>) {
        let (x, w, bias, y) = (io.read(0), io.read(1), io.read(2), io.write(3));
        for (index, y) in y.iter_mut().enumerate() {
            *y = if self.has_bias { bias[index % self.geometry.outputs] } else { T::zero() };
        }
        for_each_term(&self.geometry, |output, input, weight| y[output] += x[input] * w[weight]);
    }
}

impl Kernel for Forward {
    fn shader(&self) -> Shader {
        shader!("convolution_forward", "grid", "geometry", "tile", "convolution_forward")
    }
    fn parameters(&self) -> Vec<u32> {
        [self.geometry.parameters(), vec![self.has_bias.into()]].concat()
    }
    fn bindings(&self) -> Vec<Binding> {
        let g = &self.geometry;
        vec![
            Binding::read(g.input_len()),
            Binding::read(g.weight_len()),
            Binding::read(if self.has_bias { g.outputs } else { g.weight_len() }),
            Binding::write(g.output_len()),
        ]
    }
    fn groups(&self) -> usize {
        tiles(self.geometry.out_pixels(), self.geometry.outputs, 64, 64)
    }
    fn variants(&self) -> Vec<Variant> {
        let g = &self.geometry;
        let lanes = shader!("convolution_forward_lanes", "grid", "geometry", "lanes", "convolution_forward");
        vec![
            Variant::new("tile", self.shader(), self.groups()),
            Variant::new("lanes", lanes, tiles(g.out_pixels(), g.outputs, 32, 16)).with_subgroups(),
        ]
    }
    fn flops(&self) -> u64 {
        self.geometry.flops()
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let (x, w, bias, y) = (io.read(0), io.read(1), io.read(2), io.write(3));
        host::forward(&self.geometry, x, w, self.has_bias.then_some(bias), y);
    }
}

/// dx from dy and w.
#[derive(Clone, Copy, Debug)]
struct GradInput {
    geometry: Geometry,
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
        let g = &self.geometry;
        tiles(g.in_pixels(), g.inputs, 64, 64)
    }
    fn variants(&self) -> Vec<Variant> {
        let g = &self.geometry;
        let lanes = shader!("convolution_grad_input_lanes", "grid", "geometry", "lanes", "convolution_grad_input");
        vec![
            Variant::new("tile", self.shader(), self.groups()),
            Variant::new("lanes", lanes, tiles(g.in_pixels(), g.inputs, 32, 16)).with_subgroups(),
        ]
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
}

impl GradWeight {
    /// Splits the pixels so that there are some 256 workgroups, of at least 512 pixels each. The number depends on
    /// the sizes alone: it decides the order of the sums.
    fn new(geometry: Geometry) -> Self {
        let tiles = geometry.depth().div_ceil(64) * geometry.outputs.div_ceil(64);
        let splits = 256usize.div_ceil(tiles).min(geometry.out_pixels().div_ceil(512)).max(1);
        Self { geometry, splits }
    }

    fn pixels_per_split(&self) -> usize {
        self.geometry.out_pixels().div_ceil(self.splits)
    }
}

impl<T: Real> Twin<T> for GradWeight {
    fn twin(&self, io: &mut Bindings<T>) {
        let (x, dy, partial) = (io.read(0), io.read(1), io.write(2));
        let g = &self.geometry;
        partial.fill(T::zero());
        for_each_term(g, |output, input, weight| {
            let split = output / g.outputs / self.pixels_per_split();
            partial[split * g.weight_len() + weight] += x[input] * dy[output];
        });
    }
}

impl Kernel for GradWeight {
    fn shader(&self) -> Shader {
        shader!("convolution_grad_weight", "grid", "geometry", "tile", "convolution_grad_weight")
    }
    fn parameters(&self) -> Vec<u32> {
        [self.geometry.parameters(), vec![self.splits as u32, self.pixels_per_split() as u32]].concat()
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
        self.splits * tiles(self.geometry.depth(), self.geometry.outputs, 64, 64)
    }
    fn variants(&self) -> Vec<Variant> {
        let g = &self.geometry;
        let lanes = shader!("convolution_grad_weight_lanes", "grid", "geometry", "lanes", "convolution_grad_weight");
        vec![
            Variant::new("tile", self.shader(), self.groups()),
            Variant::new("lanes", lanes, self.splits * tiles(g.depth(), g.outputs, 32, 16)).with_subgroups(),
        ]
    }
    fn flops(&self) -> u64 {
        self.geometry.flops()
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let (x, dy, partial) = (io.read(0), io.read(1), io.write(2));
        host::grad_weight(&self.geometry, self.pixels_per_split(), x, dy, partial);
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

/// Convolution of x `[pictures, height, width, inputs]` with w `[kernel, kernel, inputs, outputs]`, plus bias `[outputs]`.
pub fn convolution(r: &mut Recorder, x: Value, w: Value, bias: Option<Value>, window: Window) -> Result<Value> {
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
    let y = r.activation(&[pictures, geometry.out_height(), geometry.out_width(), outputs]);
    r.call(Forward { geometry, has_bias: bias.is_some() }, &[x, w, bias.unwrap_or(w), y]);
    let inputs = [Some(x), Some(w), bias];
    r.differentiable(y, &inputs.into_iter().flatten().collect::<Vec<_>>(), move |r, dy| {
        if let Some(dx) = r.new_gradient(x) {
            r.call(GradInput { geometry }, &[dy, w, dx]);
        }
        if let Some(dw) = r.gradient_target(w) {
            grad_weight(r, geometry, x, dy, dw)?;
        }
        if let Some(target) = bias.and_then(|bias| r.gradient_target(bias)) {
            sum_rows(r, dy, 1, geometry.out_pixels(), outputs, target)?;
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
    let shapes: [(&str, [usize; 4], usize, usize, Window); 13] = [
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
        ("3x3 of 16 and 33 channels", [2, 7, 9, 16], 33, 3, same),
        ("3x3 of 65 and 17 channels, right and bottom padding", [1, 8, 11, 65], 17, 3, Window { before: 0, ..same }),
        ("3x3 of 17 and 16 channels, splits", [3, 14, 13, 17], 16, 3, same),
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
    cases
}
