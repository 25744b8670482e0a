// dx from dy: a product of [input pixels] x [kernel row, kernel column, output channel], gathered from dy, with the
// weight as [kernel row, kernel column, output channel] x [input channel].
struct Parameters {
    geometry: Geometry,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> dy: array<real1>;
@group(0) @binding(2) var<storage, read> w: array<real2>;
@group(0) @binding(3) var<storage, read_write> dx: array<real3>;

fn store(pixel: u32, input: u32, value: vec4<f32>) {
    let g = parameters.geometry;
    if pixel >= g.pictures * g.height * g.width {
        return;
    }
    for (var i = 0u; i < 4u; i++) {
        if input + i < g.inputs {
            dx[pixel * g.inputs + input + i] = real3(value[i]);
        }
    }
}
