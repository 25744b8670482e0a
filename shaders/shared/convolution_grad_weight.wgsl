// dw from x and dy: a product of [kernel row, kernel column, input channel] x [output pixel], gathered from x, with dy
// as [output pixel] x [output channel]. The pixels are split into equal runs whose partial sums are added up by a
// second kernel: in a fixed order, so that the result is the same every time.
@group(0) @binding(1) var<storage, read> x: array<real1>;
@group(0) @binding(2) var<storage, read> dy: array<real2>;
@group(0) @binding(3) var<storage, read_write> partials: array<real3>; // [split][weight]

// This workgroup's sums begin here.
var<private> first_sum: u32;

fn store(row: u32, output: u32, value: vec4<f32>) {
    let g = parameters.geometry;
    if row >= g.kernel * g.kernel * g.inputs {
        return;
    }
    for (var i = 0u; i < 4u; i++) {
        if output + i < g.outputs {
            partials[first_sum + row * g.outputs + output + i] = real3(value[i]);
        }
    }
}
