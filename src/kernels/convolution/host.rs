//! The host's convolutions: a block of output rows is gathered into a matrix (im2col) that stays in the cache and is
//! multiplied by the weight.

use super::super::block_product::{self, Matrix};
use super::super::{Geometry, parallel};
use super::super::product::Scratch;
use super::winograd::{self, Turn};

/// Output pixels in a block: enough to pay for packing the weight, few enough for the gathered block to stay cached.
const BLOCK_PIXELS: usize = 384;

fn with_gathered<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    Scratch::with(|scratch| work(scratch.take(len)))
}

/// c (+)= a b of row-major matrices, a possibly transposed, on this thread.
fn multiply(
    c: &mut [f32],
    a: &[f32],
    b: &[f32],
    [rows, columns, depth]: [usize; 3],
    [transpose_a, transpose_b, accumulate]: [bool; 3],
) {
    let a = Matrix::rows(a, if transpose_a { rows } else { depth }).transposed_if(transpose_a);
    let b = Matrix::rows(b, if transpose_b { depth } else { columns }).transposed_if(transpose_b);
    block_product::multiply((c, columns), a, b, [rows, columns, depth], 1.0, accumulate);
}

/// Gathers what each output pixel of the rows from `first_row` on (counted through all pictures) sees: `[pixels, kernel row, kernel column, input channel]`.
fn gather(g: &Geometry, x: &[f32], first_row: usize, gathered: &mut [f32]) {
    let (out_height, out_width, depth) = (g.out_height(), g.out_width(), g.depth());
    let span = g.kernel * g.inputs; // what one kernel row sees, contiguous in x but for padding
    for (index, into) in gathered.chunks_exact_mut(out_width * depth).enumerate() {
        let (picture, row) = ((first_row + index) / out_height, (first_row + index) % out_height);
        for up in 0..g.kernel {
            let Some(in_row) = g.input_at(row, up, g.height) else {
                into.chunks_exact_mut(depth).for_each(|pixel| pixel[up * span..(up + 1) * span].fill(0.0));
                continue;
            };
            let line = &x[(picture * g.height + in_row) * g.width * g.inputs..][..g.width * g.inputs];
            for (column, pixel) in into.chunks_exact_mut(depth).enumerate() {
                let into = &mut pixel[up * span..(up + 1) * span];
                let first = (column * g.stride).wrapping_sub(g.before);
                if first < g.width && first + g.kernel <= g.width {
                    into.copy_from_slice(&line[first * g.inputs..][..span]);
                    continue;
                }
                for (left, into) in into.chunks_exact_mut(g.inputs).enumerate() {
                    match g.input_at(column, left, g.width) {
                        Some(in_column) => into.copy_from_slice(&line[in_column * g.inputs..][..g.inputs]),
                        None => into.fill(0.0),
                    }
                }
            }
        }
    }
}

/// Output rows in a block.
fn block_rows(g: &Geometry) -> usize {
    let rows = g.pictures * g.out_height();
    // At least four blocks, where there are as many rows, so that the cores can share them.
    BLOCK_PIXELS.div_ceil(g.out_width()).min(rows.div_ceil(4)).max(1)
}

pub(super) fn forward(g: &Geometry, x: &[f32], w: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    if winograd::applies(g) {
        return winograd::forward(g, x, w, Turn::No, bias, y);
    }
    let (rows, depth, width) = (block_rows(g), g.depth(), g.out_width());
    parallel::for_rows(y, rows * width * g.outputs, |block, y| {
        if let Some(bias) = bias {
            y.chunks_exact_mut(g.outputs).for_each(|y| y.copy_from_slice(bias));
        }
        let pixels = y.len() / g.outputs;
        if g.kernel == 1 && g.stride == 1 && g.before == 0 {
            let x = &x[block * rows * width * g.inputs..];
            return multiply(y, x, w, [pixels, g.outputs, depth], [false, false, bias.is_some()]);
        }
        with_gathered(pixels * depth, |gathered| {
            gather(g, x, block * rows, gathered);
            multiply(y, gathered, w, [pixels, g.outputs, depth], [false, false, bias.is_some()]);
        });
    });
}

pub(super) fn grad_input(g: &Geometry, dy: &[f32], w: &[f32], dx: &mut [f32]) {
    if g.stride == 1 && g.before < g.kernel {
        // The gradient is a convolution of dy with the kernel turned by half a turn, its channels exchanged.
        let (before, after) = (g.kernel - 1 - g.before, g.kernel - 1 - g.after.min(g.kernel - 1));
        let mirrored = Geometry {
            height: g.out_height(),
            width: g.out_width(),
            inputs: g.outputs,
            outputs: g.inputs,
            before,
            after,
            ..*g
        };
        if (mirrored.out_height(), mirrored.out_width()) == (g.height, g.width) {
            if winograd::applies(&mirrored) {
                return winograd::forward(&mirrored, dy, w, Turn::Half, None, dx);
            }
            return forward(&mirrored, dy, &turn(g, w), None, dx);
        }
    }
    // Otherwise: what each output pixel gives to what it saw, added up picture by picture.
    let (picture, out_picture) = (g.height * g.width * g.inputs, g.out_height() * g.out_width() * g.outputs);
    parallel::for_rows(dx, picture, |index, dx| {
        let dy = &dy[index * out_picture..][..out_picture];
        let (pixels, depth) = (g.out_height() * g.out_width(), g.depth());
        with_gathered(pixels * depth, |gathered| {
            multiply(gathered, dy, w, [pixels, depth, g.outputs], [false, true, false]);
            dx.fill(0.0);
            scatter(g, gathered, dx);
        });
    });
}

/// w turned by half a turn, as `[kernel row, kernel column, output, input]`.
fn turn(g: &Geometry, w: &[f32]) -> Vec<f32> {
    let mut turned = vec![0.0; w.len()];
    let taps = g.kernel * g.kernel;
    for (tap, turned) in turned.chunks_exact_mut(g.inputs * g.outputs).enumerate() {
        let w = &w[(taps - 1 - tap) * g.inputs * g.outputs..];
        for (output, turned) in turned.chunks_exact_mut(g.inputs).enumerate() {
            for (input, turned) in turned.iter_mut().enumerate() {
                *turned = w[input * g.outputs + output];
            }
        }
    }
    turned
}

/// Adds gathered gradients of one picture, laid out as by [`gather`], to the pixels that they came from.
fn scatter(g: &Geometry, gathered: &[f32], dx: &mut [f32]) {
    for (pixel, gathered) in gathered.chunks_exact(g.depth()).enumerate() {
        let (row, column) = (pixel / g.out_width(), pixel % g.out_width());
        for (tap, gathered) in gathered.chunks_exact(g.inputs).enumerate() {
            let in_row = g.input_at(row, tap / g.kernel, g.height);
            let in_column = g.input_at(column, tap % g.kernel, g.width);
            if let (Some(in_row), Some(in_column)) = (in_row, in_column) {
                let dx = &mut dx[(in_row * g.width + in_column) * g.inputs..][..g.inputs];
                for (dx, &gathered) in dx.iter_mut().zip(gathered) {
                    *dx += gathered;
                }
            }
        }
    }
}

pub(super) fn grad_weight(g: &Geometry, pixels_per_split: usize, x: &[f32], dy: &[f32], partial: &mut [f32]) {
    if winograd::applies(g) {
        return winograd::grad_weight(g, x, dy, partial);
    }
    let (depth, width) = (g.depth(), g.out_width());
    let all_rows = g.pictures * g.out_height();
    parallel::for_rows(partial, g.weight_len(), |split, partial| {
        let first_pixel = split * pixels_per_split;
        let last_pixel = (first_pixel + pixels_per_split).min(g.out_pixels());
        if first_pixel >= last_pixel {
            return partial.fill(0.0);
        }
        // Whole output rows are gathered; the pixels of a split may begin and end within one.
        let (first_row, last_row) = (first_pixel / width, last_pixel.div_ceil(width).min(all_rows));
        let block = block_rows(g);
        for row in (first_row..last_row).step_by(block) {
            let rows = block.min(last_row - row);
            let first = first_pixel.max(row * width) - row * width;
            let pixels = last_pixel.min((row + rows) * width) - row * width - first;
            let dy = &dy[(row * width + first) * g.outputs..];
            with_gathered(rows * width * depth, |gathered| {
                gather(g, x, row, gathered);
                let gathered = &gathered[first * depth..];
                multiply(partial, gathered, dy, [depth, g.outputs, pixels], [true, false, row > first_row]);
            });
        }
    });
}
