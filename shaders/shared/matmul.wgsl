// C = scale A B (+ bias) (+ C), for batches of matrices with any strides: a transposed operand is one whose strides are
// swapped. Batches are numbered by two indices, so that (picture, head) can be one batch without moving data.
struct Operand {
    outer: u32, // elements from one outer batch to the next
    inner: u32, // elements from one inner batch to the next
    row: u32,
    column: u32,
}
struct Parameters {
    a: Operand,
    b: Operand,
    c: Operand,
    rows: u32,
    columns: u32,
    depth: u32,
    batches: u32,
    inner_batches: u32,
    scale: f32,
    has_bias: u32,
    accumulate: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;

// Where this workgroup's matrices begin.
var<private> a_first: u32;
var<private> b_first: u32;
var<private> c_first: u32;

fn begin_batch(batch: u32) {
    let outer = batch / parameters.inner_batches;
    let inner = batch % parameters.inner_batches;
    a_first = outer * parameters.a.outer + inner * parameters.a.inner;
    b_first = outer * parameters.b.outer + inner * parameters.b.inner;
    c_first = outer * parameters.c.outer + inner * parameters.c.inner;
}
