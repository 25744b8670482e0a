//! 3x3 convolutions of stride 1 by Winograd's F(2x2, 3x3) (Lavin & Gray 2015, arXiv 1509.09308): 2x2 outputs at a time
//! from 4x4 inputs, 16 products instead of 36. In matrices, y = A^T [(G w G^T) * (B^T x B)] A, where * is a matrix product
//! over the channels for each of the 16 places; the gradient of w is G^T [(B^T x B) * (A dy A^T)] G, summed over the tiles.

use super::super::product::{Left, PANEL, Product, Right, Scratch, Shared};
use super::super::product::{load, load_some, multiply, store, store_some};
use super::super::{Geometry, parallel};
use pulp::{Simd, WithSimd};

/// Places of a 4x4 tile.
const PLACES: usize = 16;
/// Added to the distance between the places' matrices, so that they do not fall on the same lines of the cache.
const APART: usize = 16;
/// Bytes of a task's tiles, before and after the product, that stay in the second cache.
const CACHED_BYTES: usize = 1 << 19;
/// Input and output channels that a task of the gradient of w handles.
const BLOCK: usize = 64;

/// Whether this way is faster: the tiles must be worth the transformed weight, the channels worth the transformed tiles.
pub(super) fn applies(g: &Geometry) -> bool {
    g.kernel == 3 && g.stride == 1 && g.inputs >= 16 && g.outputs >= 16 && Tiles::new(g).count() >= 8
}

type Vectors<S, const N: usize> = [[<S as Simd>::f32s; N]; N];

/// Applies `transform` to the rows of a matrix of vectors, then to the columns.
#[inline(always)]
fn both_ways<S: Simd, const A: usize, const B: usize>(
    simd: S,
    from: Vectors<S, A>,
    transform: impl Fn(S, [S::f32s; A]) -> [S::f32s; B],
) -> Vectors<S, B> {
    let zero = simd.splat_f32s(0.0);
    let mut rows = [[zero; B]; A];
    for (row, from) in rows.iter_mut().zip(from) {
        *row = transform(simd, from);
    }
    let mut into = [[zero; B]; B];
    for column in 0..B {
        let mut of_column = [zero; A];
        for (element, row) in of_column.iter_mut().zip(&rows) {
            *element = row[column];
        }
        for (row, element) in into.iter_mut().zip(transform(simd, of_column)) {
            row[column] = element;
        }
    }
    into
}

/// B^T.
#[inline(always)]
fn of_input<S: Simd>(s: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 4] {
    [s.sub_f32s(a, c), s.add_f32s(b, c), s.sub_f32s(c, b), s.sub_f32s(b, d)]
}

/// G.
#[inline(always)]
fn of_weight<S: Simd>(s: S, [a, b, c]: [S::f32s; 3]) -> [S::f32s; 4] {
    let half = s.splat_f32s(0.5);
    let (outer, b) = (s.mul_f32s(half, s.add_f32s(a, c)), s.mul_f32s(half, b));
    [a, s.add_f32s(outer, b), s.sub_f32s(outer, b), c]
}

/// A^T.
#[inline(always)]
fn to_output<S: Simd>(s: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 2] {
    [s.add_f32s(a, s.add_f32s(b, c)), s.sub_f32s(s.sub_f32s(b, c), d)]
}

/// A.
#[inline(always)]
fn of_output<S: Simd>(s: S, [a, b]: [S::f32s; 2]) -> [S::f32s; 4] {
    [a, s.add_f32s(a, b), s.sub_f32s(a, b), s.neg_f32s(b)]
}

/// G^T.
#[inline(always)]
fn to_weight<S: Simd>(s: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 3] {
    let half = s.splat_f32s(0.5);
    let (b, c) = (s.mul_f32s(half, b), s.mul_f32s(half, c));
    let sum = s.add_f32s(b, c);
    [s.add_f32s(a, sum), s.sub_f32s(b, c), s.add_f32s(sum, d)]
}

/// The 2x2 tiles of the output, through all pictures.
#[derive(Clone, Copy)]
struct Tiles {
    g: Geometry,
    rows: usize,
    columns: usize,
}

impl Tiles {
    fn new(g: &Geometry) -> Self {
        Self { g: *g, rows: g.out_height().div_ceil(2), columns: g.out_width().div_ceil(2) }
    }

    fn count(&self) -> usize {
        self.g.pictures * self.rows * self.columns
    }

    /// Picture, first row and first column of a tile's outputs.
    fn at(&self, tile: usize) -> (usize, usize, usize) {
        let (row, column) = (tile / self.columns, tile % self.columns);
        (row / self.rows, row % self.rows * 2, column * 2)
    }

    /// The 4x4 pixels of x that a tile sees, from a channel on; `zeros` for padding.
    #[inline(always)]
    fn inputs(&self, tile: usize, x: &[f32], channel: usize, zeros: *const f32) -> [[*const f32; 4]; 4] {
        let (picture, first_row, first_column) = self.at(tile);
        let g = &self.g;
        let mut pixels = [[zeros; 4]; 4];
        for (i, pixels) in pixels.iter_mut().enumerate() {
            let row = (first_row + i).wrapping_sub(g.before);
            for (j, pixel) in pixels.iter_mut().enumerate() {
                let column = (first_column + j).wrapping_sub(g.before);
                if row < g.height && column < g.width {
                    *pixel = x[((picture * g.height + row) * g.width + column) * g.inputs + channel..].as_ptr();
                }
            }
        }
        pixels
    }

    /// The first elements of the 2x2 pixels of y; none past an edge.
    #[inline(always)]
    fn outputs(&self, tile: usize) -> [[Option<usize>; 2]; 2] {
        let (picture, first_row, first_column) = self.at(tile);
        let (height, width) = (self.g.out_height(), self.g.out_width());
        let mut pixels = [[None; 2]; 2];
        for (i, pixels) in pixels.iter_mut().enumerate() {
            for (j, pixel) in pixels.iter_mut().enumerate() {
                let (row, column) = (first_row + i, first_column + j);
                if row < height && column < width {
                    *pixel = Some(((picture * height + row) * width + column) * self.g.outputs);
                }
            }
        }
        pixels
    }
}

/// Matrices of the 16 places in scratch memory.
#[derive(Clone, Copy)]
struct Places {
    data: *mut f32,
    /// From one place's matrix to the next.
    place: usize,
    /// From one row to the next.
    row: usize,
}

impl Places {
    fn len(rows: usize, row: usize) -> usize {
        PLACES * (rows * row + APART)
    }

    /// Cuts the matrices off the front of `scratch`.
    fn cut<'a>(scratch: &mut &'a mut [f32], rows: usize, row: usize) -> (Self, &'a mut [f32]) {
        let (own, rest) = std::mem::take(scratch).split_at_mut(Self::len(rows, row));
        *scratch = rest;
        (Self { data: own.as_mut_ptr(), place: rows * row + APART, row }, own)
    }

    fn left(&self, place: usize) -> Left {
        // SAFETY: there are 16 places.
        Left { data: unsafe { self.data.add(place * self.place) }, row: self.row, column: 1 }
    }
}

/// Transforms a tile's `pixels`, of `channels` channels, to row `row` of the places.
///
/// # Safety
/// The pixels have their channels behind them, the places that row.
#[inline(always)]
unsafe fn transform_tile<S: Simd, const N: usize>(
    simd: S,
    pixels: [[*const f32; N]; N],
    channels: usize,
    (into, row): (Places, usize),
    transform: impl Fn(S, [S::f32s; N]) -> [S::f32s; 4],
) {
    for channel in (0..channels).step_by(S::F32_LANES) {
        let rest = channels - channel;
        let mut from = [[simd.splat_f32s(0.0); N]; N];
        for (from, pixels) in from.iter_mut().zip(&pixels) {
            for (from, &pixel) in from.iter_mut().zip(pixels) {
                // SAFETY: the caller's.
                *from = unsafe { load_some(simd, pixel.add(channel), rest) };
            }
        }
        // SAFETY: the caller's; the rows of the places' matrices are whole panels.
        let first = unsafe { into.data.add(row * into.row + channel) };
        for (i, values) in both_ways(simd, from, &transform).iter().enumerate() {
            for (j, &values) in values.iter().enumerate() {
                // SAFETY: as above.
                unsafe { store::<S>(first.add((4 * i + j) * into.place), values) };
            }
        }
    }
}

/// Reads the places of row `row`, from column `column` on.
#[inline(always)]
unsafe fn load_places<S: Simd>(simd: S, from: Places, row: usize, column: usize) -> Vectors<S, 4> {
    let mut tile = [[simd.splat_f32s(0.0); 4]; 4];
    for (i, values) in tile.iter_mut().enumerate() {
        for (j, values) in values.iter_mut().enumerate() {
            // SAFETY: the caller has that row and column; the rows are whole panels.
            *values = unsafe { load::<S>(from.data.add((4 * i + j) * from.place + row * from.row + column)) };
        }
    }
    tile
}

/// w, `[kernel row, kernel column, input, output]`, as 16 matrices of panels: `[place][panel][input][PANEL]`.
struct Weights<'a> {
    data: &'a [f32],
    inputs: usize,
    place: usize,
}

/// How a weight is read: as it is, or turned by half a turn with its channels exchanged, for the gradient of x.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    No,
    Half,
}

/// Input channels whose weights are transformed together.
const WEIGHT_ROWS: usize = 16;

/// Transforms the weights of a panel of outputs and a few inputs.
struct TransformWeights<'a> {
    g: &'a Geometry,
    w: &'a [f32],
    turn: Turn,
    into: Shared,
    place: usize,
    panel: usize,
    first_input: usize,
}

impl WithSimd for TransformWeights<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { g, w, first_input, .. } = self;
        let inputs = WEIGHT_ROWS.min(g.inputs - first_input);
        let first_output = self.panel * PANEL;
        let outputs = PANEL.min(g.outputs - first_output);
        let mut taps = [[[0.0f32; PANEL]; WEIGHT_ROWS]; 9];
        for (tap, taps) in taps.iter_mut().enumerate() {
            if self.turn == Turn::No {
                for (input, taps) in taps.iter_mut().enumerate().take(inputs) {
                    let w = &w[(tap * g.inputs + first_input + input) * g.outputs + first_output..][..outputs];
                    taps[..outputs].copy_from_slice(w);
                }
            } else {
                for output in 0..outputs {
                    let w = &w[((8 - tap) * g.outputs + first_output + output) * g.inputs + first_input..][..inputs];
                    for (taps, w) in taps.iter_mut().zip(w) {
                        taps[output] = *w;
                    }
                }
            }
        }
        for input in 0..inputs {
            for output in (0..PANEL).step_by(S::F32_LANES) {
                let mut from = [[simd.splat_f32s(0.0); 3]; 3];
                for (i, from) in from.iter_mut().enumerate() {
                    for (j, from) in from.iter_mut().enumerate() {
                        // SAFETY: vectors divide a panel.
                        *from = unsafe { load::<S>(taps[3 * i + j][input].as_ptr().add(output)) };
                    }
                }
                let row = (self.panel * g.inputs + first_input + input) * PANEL + output;
                for (i, values) in both_ways(simd, from, of_weight).iter().enumerate() {
                    for (j, &values) in values.iter().enumerate() {
                        // SAFETY: each task has rows of its own.
                        unsafe { store::<S>(self.into.0.add((4 * i + j) * self.place + row), values) };
                    }
                }
            }
        }
    }
}

/// Transforms all of w into `scratch`; g is the convolution that it is for.
fn transform_weights<'a>(g: &Geometry, w: &[f32], turn: Turn, scratch: &'a mut Scratch) -> Weights<'a> {
    let panels = g.outputs.div_ceil(PANEL);
    let place = panels * g.inputs * PANEL + APART;
    let data = scratch.take(PLACES * place);
    let into = Shared(data.as_mut_ptr());
    let parts = g.inputs.div_ceil(WEIGHT_ROWS);
    parallel::for_tasks(panels * parts, |task| {
        let (panel, first_input) = (task / parts, task % parts * WEIGHT_ROWS);
        parallel::simd(TransformWeights { g, w, turn, into, place, panel, first_input });
    });
    Weights { data, inputs: g.inputs, place }
}

/// One run of tiles and of panels of outputs.
struct Forward<'a> {
    tiles: &'a Tiles,
    x: &'a [f32],
    weights: &'a Weights<'a>,
    bias: Option<&'a [f32]>,
    y: Shared,
    first: usize,
    count: usize,
    first_panel: usize,
    panels: usize,
    scratch: &'a mut [f32],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { tiles, x, weights, first, count, first_panel, panels, mut scratch, .. } = self;
        let g = &tiles.g;
        let (inputs, _inputs) = Places::cut(&mut scratch, count, g.inputs.next_multiple_of(PANEL));
        let (outputs, _outputs) = Places::cut(&mut scratch, count, panels * PANEL);
        scratch[..g.inputs].fill(0.0);
        for tile in 0..count {
            let pixels = tiles.inputs(first + tile, x, 0, scratch.as_ptr());
            // SAFETY: every pixel of x has all channels, and so do the zeros.
            unsafe { transform_tile(simd, pixels, g.inputs, (inputs, tile), of_input) };
        }
        for place in 0..PLACES {
            let panel = weights.inputs * PANEL;
            let matrix = &weights.data[place * weights.place + first_panel * panel..][..panels * panel];
            let b = Right { data: matrix.as_ptr(), panel, row: PANEL };
            // SAFETY: the scratch memory was cut to these sizes.
            unsafe {
                let c = Product { data: outputs.data.add(place * outputs.place), row: outputs.row, accumulate: false };
                multiply(simd, [count, panels, g.inputs], inputs.left(place), b, c);
            }
        }
        let first_output = first_panel * PANEL;
        let end = (first_output + panels * PANEL).min(g.outputs);
        for tile in 0..count {
            let pixels = tiles.outputs(first + tile);
            for output in (first_output..end).step_by(S::F32_LANES) {
                // SAFETY: the product has made them; the bias has an element for each output.
                let (from, bias) = unsafe {
                    let bias = self.bias.map(|bias| load_some(simd, bias.as_ptr().add(output), end - output));
                    (load_places(simd, outputs, tile, output - first_output), bias)
                };
                let values = both_ways(simd, from, to_output);
                for (pixels, values) in pixels.iter().zip(&values) {
                    for (&pixel, &values) in pixels.iter().zip(values) {
                        let Some(pixel) = pixel else { continue };
                        let values = bias.map_or(values, |bias| simd.add_f32s(values, bias));
                        // SAFETY: a pixel of y; each task has pixels or channels of its own.
                        unsafe { store_some(simd, self.y.0.add(pixel + output), end - output, values) };
                    }
                }
            }
        }
    }
}

pub(super) fn forward(g: &Geometry, x: &[f32], w: &[f32], turn: Turn, bias: Option<&[f32]>, y: &mut [f32]) {
    let tiles = Tiles::new(g);
    let all_panels = g.outputs.div_ceil(PANEL);
    let input_row = g.inputs.next_multiple_of(PANEL);
    // Few tiles all go to every task, which makes some of the outputs, so that each weight is read once. Of many, a
    // task takes as many as the cache holds.
    let few = tiles.count() <= 64;
    let panels = if few { all_panels.min(2) } else { all_panels };
    let most = (CACHED_BYTES / 4 / PLACES / (input_row + panels * PANEL)).clamp(12, 64);
    let blocks = tiles.count().div_ceil(if few { most.max(32) } else { most });
    let most = tiles.count().div_ceil(blocks).next_multiple_of(4);
    let blocks = tiles.count().div_ceil(most);
    let of_outputs = all_panels.div_ceil(panels);
    assert!(x.len() >= g.input_len() && y.len() >= g.output_len() && bias.is_none_or(|bias| bias.len() >= g.outputs));
    let y = Shared(y.as_mut_ptr());
    Scratch::with(|scratch| {
        let weights = transform_weights(g, w, turn, scratch);
        parallel::for_tasks(blocks * of_outputs, |task| {
            let (first, first_panel) = (task / of_outputs * most, task % of_outputs * panels);
            let count = most.min(tiles.count() - first);
            let panels = panels.min(all_panels - first_panel);
            Scratch::with(|scratch| {
                let scratch = scratch.take(Places::len(count, input_row) + Places::len(count, panels * PANEL) + g.inputs);
                let (tiles, weights) = (&tiles, &weights);
                parallel::simd(Forward { tiles, x, weights, bias, y, first, count, first_panel, panels, scratch });
            });
        });
    });
}

/// The gradient of a block of w from a run of tiles.
struct GradWeight<'a> {
    tiles: &'a Tiles,
    x: &'a [f32],
    dy: &'a [f32],
    /// `[kernel row, kernel column, input, output]`.
    dw: Shared,
    first: usize,
    end: usize,
    /// The first and the last but one channel.
    inputs: [usize; 2],
    outputs: [usize; 2],
    /// Tiles that are transformed together.
    together: usize,
    scratch: &'a mut [f32],
}

impl WithSimd for GradWeight<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { tiles, x, dy, first, end, inputs, outputs, together, mut scratch, .. } = self;
        let g = &tiles.g;
        let rows = inputs[1] - inputs[0];
        let row = (outputs[1] - outputs[0]).next_multiple_of(PANEL);
        let (of_x, _x) = Places::cut(&mut scratch, together, rows.next_multiple_of(PANEL));
        let (of_dy, zeros) = Places::cut(&mut scratch, together, row);
        zeros.fill(0.0); // The channels after the last stay so.
        let (of_w, sums) = Places::cut(&mut scratch, rows, row);
        if first >= end {
            sums.fill(0.0);
        }
        scratch[..BLOCK].fill(0.0);
        for first_tile in (first..end).step_by(together) {
            let count = together.min(end - first_tile);
            for tile in 0..count {
                let pixels = tiles.inputs(first_tile + tile, x, inputs[0], scratch.as_ptr());
                let mut dy_pixels = [[scratch.as_ptr(); 2]; 2];
                for (pointers, pixels) in dy_pixels.iter_mut().zip(tiles.outputs(first_tile + tile)) {
                    for (pointer, pixel) in pointers.iter_mut().zip(pixels) {
                        *pointer = pixel.map_or(*pointer, |pixel| dy[pixel + outputs[0]..].as_ptr());
                    }
                }
                // SAFETY: every pixel has these channels, and so do the zeros.
                unsafe {
                    transform_tile(simd, pixels, rows, (of_x, tile), of_input);
                    transform_tile(simd, dy_pixels, outputs[1] - outputs[0], (of_dy, tile), of_output);
                }
            }
            for place in 0..PLACES {
                let a = Left { row: 1, column: of_x.row, ..of_x.left(place) };
                // SAFETY: the scratch memory was cut to these sizes.
                unsafe {
                    let b = Right { data: of_dy.data.add(place * of_dy.place), panel: PANEL, row };
                    let accumulate = first_tile > first;
                    let c = Product { data: of_w.data.add(place * of_w.place), row, accumulate };
                    multiply(simd, [rows, row / PANEL, count], a, b, c);
                }
            }
        }
        for input in inputs[0]..inputs[1] {
            for output in (outputs[0]..outputs[1]).step_by(S::F32_LANES) {
                // SAFETY: the products have made them.
                let from = unsafe { load_places(simd, of_w, input - inputs[0], output - outputs[0]) };
                for (i, values) in both_ways(simd, from, to_weight).iter().enumerate() {
                    for (j, &values) in values.iter().enumerate() {
                        let at = ((3 * i + j) * g.inputs + input) * g.outputs + output;
                        // SAFETY: inside dw; each task has a block of its own.
                        unsafe { store_some(simd, self.dw.0.add(at), outputs[1] - output, values) };
                    }
                }
            }
        }
    }
}

/// Partial gradients of w, `[splits, weight]`. Each is over a run of tiles, unlike the twin's, whose runs are of
/// pixels: their sum is what counts.
pub(super) fn grad_weight(g: &Geometry, x: &[f32], dy: &[f32], partial: &mut [f32]) {
    let tiles = Tiles::new(g);
    let splits = partial.len() / g.weight_len();
    let (input_blocks, output_blocks) = (g.inputs.div_ceil(BLOCK), g.outputs.div_ceil(BLOCK));
    let run = tiles.count().div_ceil(splits);
    let together = run.min(48).next_multiple_of(4);
    assert!(x.len() >= g.input_len() && dy.len() >= g.output_len());
    let partial = Shared(partial.as_mut_ptr());
    parallel::for_tasks(splits * input_blocks * output_blocks, |task| {
        let (block, split) = (task % (input_blocks * output_blocks), task / (input_blocks * output_blocks));
        let range = |block: usize, channels: usize| [block * BLOCK, ((block + 1) * BLOCK).min(channels)];
        let inputs = range(block / output_blocks, g.inputs);
        let outputs = range(block % output_blocks, g.outputs);
        let (first, end) = ((split * run).min(tiles.count()), ((split + 1) * run).min(tiles.count()));
        let partial = partial;
        // SAFETY: `partial` holds a weight for each split.
        let dw = Shared(unsafe { partial.0.add(split * g.weight_len()) });
        Scratch::with(|scratch| {
            let row = (outputs[1] - outputs[0]).next_multiple_of(PANEL);
            let rows = inputs[1] - inputs[0];
            let of_tiles = Places::len(together, rows.next_multiple_of(PANEL)) + Places::len(together, row);
            let scratch = scratch.take(of_tiles + Places::len(rows, row) + BLOCK);
            let tiles = &tiles;
            parallel::simd(GradWeight { tiles, x, dy, dw, first, end, inputs, outputs, together, scratch });
        });
    });
}
