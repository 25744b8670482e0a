// A convolution, as shared/convolution_forward.wgsl describes it, by tiles in workgroup memory.

// x at what kernel row and column `tap` sees from an output pixel, 0 outside.
fn x_at(pixel: u32, tap: u32, channel: u32) -> f32 {
    let g = parameters.geometry;
    // Padding wraps around to a huge number, which the comparison with the size sorts out.
    let row = pixel / g.out_width;
    let in_row = row % g.out_height * g.stride + tap / g.kernel - g.before;
    let in_column = pixel % g.out_width * g.stride + tap % g.kernel - g.before;
    let picture = row / g.out_height;
    if picture < g.pictures && in_row < g.height && in_column < g.width {
        return f32(x[((picture * g.height + in_row) * g.width + in_column) * g.inputs + channel]);
    }
    return 0.0;
}

fn load_a(pixel: u32, k: u32) -> vec4<f32> {
    let tap = k / parameters.geometry.inputs;
    let channel = k % parameters.geometry.inputs;
    if tap >= parameters.geometry.kernel * parameters.geometry.kernel {
        return vec4<f32>(0.0);
    }
    return vec4<f32>(
        x_at(pixel, tap, channel),
        x_at(pixel + 1u, tap, channel),
        x_at(pixel + 2u, tap, channel),
        x_at(pixel + 3u, tap, channel),
    );
}

fn w_at(k: u32, output: u32) -> f32 {
    let g = parameters.geometry;
    if k < g.kernel * g.kernel * g.inputs && output < g.outputs {
        return f32(w[k * g.outputs + output]);
    }
    return 0.0;
}

fn load_b(k: u32, output: u32) -> vec4<f32> {
    return vec4<f32>(w_at(k, output), w_at(k, output + 1u), w_at(k, output + 2u), w_at(k, output + 3u));
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
