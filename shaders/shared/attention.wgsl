// What the attention kernels have in common (Dao et al. 2022, arXiv 2205.14135): a workgroup of 64 threads works on 64 x 64
// tiles of scores that are kept in registers and never written. The file that follows says what its operands hold:
//     fn element(operand: u32, row: u32, channel: u32) -> f32           0 outside
//     fn store(output: u32, row: u32, channel: u32, value: vec4<f32>)   of the tile's row; must ignore what is outside
struct Parameters {
    batches: u32, // pictures x heads
    heads: u32,
    queries: u32,
    tokens: u32,
    size: u32, // channels of a head
    scale: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;

// The workgroup's picture and head, and the tile's queries and keys.
var<private> batch: u32;
var<private> first_query: u32;
var<private> first_key: u32;

// A thread's part of a tile: 8 rows from 8 (thread / 8) on, 8 columns from 8 (thread % 8) on; ci0 holds columns 0..4 of row i.
struct Tile {
    c00: vec4<f32>, c01: vec4<f32>,
    c10: vec4<f32>, c11: vec4<f32>,
    c20: vec4<f32>, c21: vec4<f32>,
    c30: vec4<f32>, c31: vec4<f32>,
    c40: vec4<f32>, c41: vec4<f32>,
    c50: vec4<f32>, c51: vec4<f32>,
    c60: vec4<f32>, c61: vec4<f32>,
    c70: vec4<f32>, c71: vec4<f32>,
}
var<workgroup> left: array<vec4<f32>, 128>; // [k 8][row 64 / 4]
var<workgroup> right: array<vec4<f32>, 128>; // [k 8][column 64 / 4]

// Where the head's row of a token is, in [picture][token][head][channel].
fn place_of(batch: u32, token: u32, tokens: u32) -> u32 {
    return (batch / parameters.heads * tokens + token) * parameters.heads + batch % parameters.heads;
}

fn of_four_rows(operand: u32, row: u32, channel: u32) -> vec4<f32> {
    return vec4<f32>(
        element(operand, row, channel),
        element(operand, row + 1u, channel),
        element(operand, row + 2u, channel),
        element(operand, row + 3u, channel),
    );
}

fn of_four_channels(operand: u32, row: u32, channel: u32) -> vec4<f32> {
    return vec4<f32>(
        element(operand, row, channel),
        element(operand, row, channel + 1u),
        element(operand, row, channel + 2u),
        element(operand, row, channel + 3u),
    );
}

// t += A B for the 64 x 8 and 8 x 64 elements in `left` and `right`.
fn multiply_eight(t: ptr<function, Tile>, thread: u32) {
    for (var k = 0u; k < 8u; k++) {
        let a0 = left[k * 16u + thread / 8u * 2u];
        let a1 = left[k * 16u + thread / 8u * 2u + 1u];
        let b0 = right[k * 16u + thread % 8u * 2u];
        let b1 = right[k * 16u + thread % 8u * 2u + 1u];
        (*t).c00 += a0.x * b0; (*t).c01 += a0.x * b1;
        (*t).c10 += a0.y * b0; (*t).c11 += a0.y * b1;
        (*t).c20 += a0.z * b0; (*t).c21 += a0.z * b1;
        (*t).c30 += a0.w * b0; (*t).c31 += a0.w * b1;
        (*t).c40 += a1.x * b0; (*t).c41 += a1.x * b1;
        (*t).c50 += a1.y * b0; (*t).c51 += a1.y * b1;
        (*t).c60 += a1.z * b0; (*t).c61 += a1.z * b1;
        (*t).c70 += a1.w * b0; (*t).c71 += a1.w * b1;
    }
}

// The products of rows `row`.. of operand `a` with rows `column`.. of operand `b`, over all channels.
fn inner_products(t: ptr<function, Tile>, a: u32, row: u32, b: u32, column: u32, thread: u32) {
    let eighth = thread / 8u;
    let rest = thread % 8u;
    for (var channel = 0u; channel < parameters.size; channel += 8u) {
        // Neighbouring threads read neighbouring channels.
        let a0 = of_four_rows(a, row + eighth * 8u, channel + rest);
        let a1 = of_four_rows(a, row + eighth * 8u + 4u, channel + rest);
        let b0 = of_four_rows(b, column + eighth * 8u, channel + rest);
        let b1 = of_four_rows(b, column + eighth * 8u + 4u, channel + rest);
        workgroupBarrier();
        left[rest * 16u + eighth * 2u] = a0;
        left[rest * 16u + eighth * 2u + 1u] = a1;
        right[rest * 16u + eighth * 2u] = b0;
        right[rest * 16u + eighth * 2u + 1u] = b1;
        workgroupBarrier();
        multiply_eight(t, thread);
    }
}

// t += W^T B for the tile of weights W and rows `row`.. of operand `b`, channels `column`.. of it.
fn weighted_sums(t: ptr<function, Tile>, w: ptr<function, Tile>, b: u32, row: u32, column: u32, thread: u32) {
    let eighth = thread / 8u;
    let rest = thread % 8u;
    for (var step = 0u; step < 8u; step++) {
        let b0 = of_four_channels(b, row + step * 8u + eighth, column + rest * 8u);
        let b1 = of_four_channels(b, row + step * 8u + eighth, column + rest * 8u + 4u);
        workgroupBarrier();
        right[eighth * 16u + rest * 2u] = b0;
        right[eighth * 16u + rest * 2u + 1u] = b1;
        // The threads that hold the next eight rows of W hand them to all.
        if eighth == step {
            left[rest * 2u] = (*w).c00; left[rest * 2u + 1u] = (*w).c01;
            left[rest * 2u + 16u] = (*w).c10; left[rest * 2u + 17u] = (*w).c11;
            left[rest * 2u + 32u] = (*w).c20; left[rest * 2u + 33u] = (*w).c21;
            left[rest * 2u + 48u] = (*w).c30; left[rest * 2u + 49u] = (*w).c31;
            left[rest * 2u + 64u] = (*w).c40; left[rest * 2u + 65u] = (*w).c41;
            left[rest * 2u + 80u] = (*w).c50; left[rest * 2u + 81u] = (*w).c51;
            left[rest * 2u + 96u] = (*w).c60; left[rest * 2u + 97u] = (*w).c61;
            left[rest * 2u + 112u] = (*w).c70; left[rest * 2u + 113u] = (*w).c71;
        }
        workgroupBarrier();
        multiply_eight(t, thread);
    }
}

// Hands over a tile whose columns are channels `column` and following.
fn store_tile(output: u32, t: ptr<function, Tile>, column: u32, thread: u32) {
    let row = thread / 8u * 8u;
    let low = column + thread % 8u * 8u;
    let high = low + 4u;
    store(output, row, low, (*t).c00); store(output, row, high, (*t).c01);
    store(output, row + 1u, low, (*t).c10); store(output, row + 1u, high, (*t).c11);
    store(output, row + 2u, low, (*t).c20); store(output, row + 2u, high, (*t).c21);
    store(output, row + 3u, low, (*t).c30); store(output, row + 3u, high, (*t).c31);
    store(output, row + 4u, low, (*t).c40); store(output, row + 4u, high, (*t).c41);
    store(output, row + 5u, low, (*t).c50); store(output, row + 5u, high, (*t).c51);
    store(output, row + 6u, low, (*t).c60); store(output, row + 6u, high, (*t).c61);
    store(output, row + 7u, low, (*t).c70); store(output, row + 7u, high, (*t).c71);
}
