// The gradient of a convolution's weight, as shared/convolution_grad_weight.wgsl describes it, by tiles in workgroup
// memory.

// This workgroup's run of pixels ends here.
var<private> last_pixel: u32;

// x at what weight row `row` = (kernel row, kernel column, input channel) sees from an output pixel, 0 outside.
fn x_at(row: u32, pixel: u32) -> f32 {
    let g = parameters.geometry;
    let tap = row / g.inputs;
    let out_row = pixel / g.out_width;
    let in_row = out_row % g.out_height * g.stride + tap / g.kernel - g.before;
    let in_column = pixel % g.out_width * g.stride + tap % g.kernel - g.before;
    if tap < g.kernel * g.kernel && in_row < g.height && in_column < g.width {
        let picture = out_row / g.out_height;
        return f32(x[((picture * g.height + in_row) * g.width + in_column) * g.inputs + row % g.inputs]);
    }
    return 0.0;
}

fn load_a(row: u32, pixel: u32) -> vec4<f32> {
    if pixel >= last_pixel {
        return vec4<f32>(0.0);
    }
    return vec4<f32>(x_at(row, pixel), x_at(row + 1u, pixel), x_at(row + 2u, pixel), x_at(row + 3u, pixel));
}

fn dy_at(pixel: u32, output: u32) -> f32 {
    if pixel < last_pixel && output < parameters.geometry.outputs {
        return f32(dy[pixel * parameters.geometry.outputs + output]);
    }
    return 0.0;
}

fn load_b(pixel: u32, output: u32) -> vec4<f32> {
    return vec4<f32>(dy_at(pixel, output), dy_at(pixel, output + 1u), dy_at(pixel, output + 2u), dy_at(pixel, output + 3u));
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let g = parameters.geometry;
    let number = group_number(group, groups);
    let depth = g.kernel * g.kernel * g.inputs;
    let tile_columns = (g.outputs + 63u) / 64u;
    let tiles = tile_columns * ((depth + 63u) / 64u);
    let split = number / tiles;
    if split >= parameters.splits {
        return;
    }
    let tile = number % tiles;
    let first_pixel = split * parameters.pixels_per_split;
    let last = min(first_pixel + parameters.pixels_per_split, g.pictures * g.out_height * g.out_width);
    last_pixel = last;
    first_sum = split * depth * g.outputs;
    multiply_tile(thread, tile / tile_columns * 64u, tile % tile_columns * 64u, first_pixel, last);
}
