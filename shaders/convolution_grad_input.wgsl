// dx from dy: a product of [input pixels] x [kernel row, kernel column, output channel], gathered from dy, with the
// weight as [kernel row, kernel column, output channel] x [input channel].
struct Parameters {
    geometry: Geometry,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

fn load_a(pixel: u32, k: u32) -> vec4<f32> {
    let g = parameters.geometry;
    var value = vec4<f32>(0.0);
    let tap = k / g.outputs;
    let channel = k % g.outputs;
    if tap < g.kernel * g.kernel {
        let up = tap / g.kernel;
        let left = tap % g.kernel;
        let pixels = g.pictures * g.height * g.width;
        for (var i = 0u; i < 4u; i++) {
            if pixel + i < pixels {
                let row = (pixel + i) / g.width;
                // stride * output place = input place + before - kernel place, where that divides
                let below = row % g.height + g.before - up;
                let right = (pixel + i) % g.width + g.before - left;
                let out_row = below / g.stride;
                let out_column = right / g.stride;
                let divides = below % g.stride == 0u && right % g.stride == 0u;
                if divides && out_row < g.out_height && out_column < g.out_width {
                    let picture = row / g.height;
                    value[i] = dy[((picture * g.out_height + out_row) * g.out_width + out_column) * g.outputs + channel];
                }
            }
        }
    }
    return value;
}

fn load_b(k: u32, input: u32) -> vec4<f32> {
    let g = parameters.geometry;
    var value = vec4<f32>(0.0);
    let tap = k / g.outputs;
    let output = k % g.outputs;
    if tap < g.kernel * g.kernel {
        for (var i = 0u; i < 4u; i++) {
            if input + i < g.inputs {
                value[i] = w[(tap * g.inputs + input + i) * g.outputs + output];
            }
        }
    }
    return value;
}

fn store(pixel: u32, input: u32, value: vec4<f32>) {
    let g = parameters.geometry;
    if pixel >= g.pictures * g.height * g.width {
        return;
    }
    for (var i = 0u; i < 4u; i++) {
        if input + i < g.inputs {
            dx[pixel * g.inputs + input + i] = value[i];
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
    let tile_columns = (g.inputs + 63u) / 64u;
    let first_pixel = tile / tile_columns * 64u;
    if first_pixel >= g.pictures * g.height * g.width {
        return;
    }
    multiply_tile(thread, first_pixel, tile % tile_columns * 64u, 0u, g.kernel * g.kernel * g.outputs);
}
