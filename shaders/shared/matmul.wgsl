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
@group(0) @binding(1) var<storage, read> a: array<real1>;
@group(0) @binding(2) var<storage, read> b: array<real2>;
@group(0) @binding(3) var<storage, read> bias: array<real3>;
@group(0) @binding(4) var<storage, read_write> c: array<real4>;

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

fn store(row: u32, column: u32, value: vec4<f32>) {
    if row >= parameters.rows {
        return;
    }
    for (var i = 0u; i < min(4u, parameters.columns - min(column, parameters.columns)); i++) {
        let place = c_first + row * parameters.c.row + (column + i) * parameters.c.column;
        var sum = parameters.scale * value[i];
        if parameters.has_bias != 0u {
            sum += f32(bias[column + i]);
        }
        if parameters.accumulate != 0u {
            sum += f32(c[place]);
        }
        c[place] = real4(sum);
    }
}
