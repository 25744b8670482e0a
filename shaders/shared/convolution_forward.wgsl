// y = x * w (+ bias): a product of [output pixels] x [kernel row, kernel column, input channel], gathered from x while
// it is loaded, with the weight as [kernel row, kernel column, input channel] x [output channel].
struct Parameters {
    geometry: Geometry,
    @align(16) has_bias: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<real1>;
@group(0) @binding(2) var<storage, read> w: array<real2>;
@group(0) @binding(3) var<storage, read> bias: array<real3>;
@group(0) @binding(4) var<storage, read_write> y: array<real4>;

fn store(pixel: u32, output: u32, value: vec4<f32>) {
    let g = parameters.geometry;
    if pixel >= g.pictures * g.out_height * g.out_width {
        return;
    }
    for (var i = 0u; i < 4u; i++) {
        if output + i < g.outputs {
            var sum = value[i];
            if parameters.has_bias != 0u {
                sum += f32(bias[output + i]);
            }
            y[pixel * g.outputs + output + i] = real4(sum);
        }
    }
}
