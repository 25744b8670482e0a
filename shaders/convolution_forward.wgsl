// y = x * w (+ bias): a product of [output pixels] x [kernel row, kernel column, input channel], gathered from x while
// it is loaded, with the weight as [kernel row, kernel column, input channel] x [output channel].
struct Parameters {
    geometry: Geometry,
    @align(16) has_bias: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

fn load_a(pixel: u32, k: u32) -> vec4<f32> {
    let g = parameters.geometry;
    var value = vec4<f32>(0.0);
    let tap = k / g.inputs;
    let channel = k % g.inputs;
    if tap < g.kernel * g.kernel {
        // Padding wraps around to a huge number, which the comparison with the size sorts out.
        let up = tap / g.kernel - g.before;
        let left = tap % g.kernel - g.before;
        let pixels = g.pictures * g.out_height * g.out_width;
        for (var i = 0u; i < 4u; i++) {
            if pixel + i < pixels {
                let row = (pixel + i) / g.out_width;
                let in_row = row % g.out_height * g.stride + up;
                let in_column = (pixel + i) % g.out_width * g.stride + left;
                if in_row < g.height && in_column < g.width {
                    let picture = row / g.out_height;
                    value[i] = x[((picture * g.height + in_row) * g.width + in_column) * g.inputs + channel];
                }
            }
        }
    }
    return value;
}

fn load_b(k: u32, output: u32) -> vec4<f32> {
    let g = parameters.geometry;
    var value = vec4<f32>(0.0);
    if k < g.kernel * g.kernel * g.inputs {
        for (var i = 0u; i < 4u; i++) {
            if output + i < g.outputs {
                value[i] = w[k * g.outputs + output + i];
            }
        }
    }
    return value;
}

fn store(pixel: u32, output: u32, value: vec4<f32>) {
    let g = parameters.geometry;
    if pixel >= g.pictures * g.out_height * g.out_width {
        return;
    }
    for (var i = 0u; i < 4u; i++) {
        if output + i < g.outputs {
            var sum = value[i];
            if parameters.has_bias != 0u {
                sum += bias[output + i];
            }
            y[pixel * g.outputs + output + i] = sum;
        }
    }
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let g = parameters.geometry;
    let tile = group_number(group, groups);
    let tile_columns = (g.outputs + 63u) / 64u;
    let first_pixel = tile / tile_columns * 64u;
    if first_pixel >= g.pictures * g.out_height * g.out_width {
        return;
    }
    multiply_tile(thread, first_pixel, tile % tile_columns * 64u, 0u, g.kernel * g.kernel * g.inputs);
}
