// The gradient of a convolution's input, as shared/convolution_grad_input.wgsl describes it, by tiles in workgroup memory.

// dy at the output pixel that saw an input pixel through kernel row and column `tap`, 0 where there is none.
fn dy_at(pixel: u32, tap: u32, channel: u32) -> f32 {
    let g = parameters.geometry;
    let row = pixel / g.width;
    // stride * output place = input place + before - kernel place, where that divides
    let below = row % g.height + g.before - tap / g.kernel;
    let right = pixel % g.width + g.before - tap % g.kernel;
    let out_row = below / g.stride;
    let out_column = right / g.stride;
    let picture = row / g.height;
    let divides = below % g.stride == 0u && right % g.stride == 0u;
    if picture < g.pictures && divides && out_row < g.out_height && out_column < g.out_width {
        return f32(dy[((picture * g.out_height + out_row) * g.out_width + out_column) * g.outputs + channel]);
    }
    return 0.0;
}

fn load_a(pixel: u32, k: u32) -> vec4<f32> {
    let tap = k / parameters.geometry.outputs;
    let channel = k % parameters.geometry.outputs;
    if tap >= parameters.geometry.kernel * parameters.geometry.kernel {
        return vec4<f32>(0.0);
    }
    return vec4<f32>(
        dy_at(pixel, tap, channel),
        dy_at(pixel + 1u, tap, channel),
        dy_at(pixel + 2u, tap, channel),
        dy_at(pixel + 3u, tap, channel),
    );
}

fn w_at(k: u32, input: u32) -> f32 {
    let g = parameters.geometry;
    let tap = k / g.outputs;
    if tap < g.kernel * g.kernel && input < g.inputs {
        return f32(w[(tap * g.inputs + input) * g.outputs + k % g.outputs]);
    }
    return 0.0;
}

fn load_b(k: u32, input: u32) -> vec4<f32> {
    return vec4<f32>(w_at(k, input), w_at(k, input + 1u), w_at(k, input + 2u), w_at(k, input + 3u));
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
