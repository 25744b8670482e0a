// y = x * w (+ bias + a value for each picture and channel + residual): a product of [output pixels] x [kernel row, kernel
// column, input channel], gathered from x while it is loaded, with the weight as [kernel row, kernel column, input
// channel] x [output channel].
@group(0) @binding(1) var<storage, read> x: array<real1>;
@group(0) @binding(2) var<storage, read> w: array<real2>;
@group(0) @binding(3) var<storage, read> bias: array<real3>;
@group(0) @binding(4) var<storage, read> per_picture: array<real4>; // [picture][output]
@group(0) @binding(5) var<storage, read> residual: array<real5>; // as y
@group(0) @binding(6) var<storage, read_write> y: array<real6>;

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
            if parameters.has_per_picture != 0u {
                sum += f32(per_picture[pixel / (g.out_height * g.out_width) * g.outputs + output + i]);
            }
            if parameters.has_residual != 0u {
                sum += f32(residual[pixel * g.outputs + output + i]);
            }
            y[pixel * g.outputs + output + i] = real6(sum);
        }
    }
}
