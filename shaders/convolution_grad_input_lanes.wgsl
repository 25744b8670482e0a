// By threads that hand weights round. A run is one place in the kernel.

// The thread's four input pixels, from the top left corner of what an output pixel sees.
var<private> picture: vec4<u32>;
var<private> row: vec4<u32>;
var<private> column: vec4<u32>;
var<private> inputs: vec2<u32>;

fn load_a(place: u32) -> f32 {
    return f32(dy[place]);
}

fn load_b(place: u32) -> f32 {
    return f32(w[place]);
}

fn run_at(tap: u32) -> Run {
    let g = parameters.geometry;
    // stride * output place = input place + before - kernel place, where that divides
    let below = row - tap / g.kernel;
    let right = column - tap % g.kernel;
    let out_row = below / g.stride;
    let out_column = right / g.stride;
    let divides = (below % g.stride == vec4<u32>(0u)) & (right % g.stride == vec4<u32>(0u));
    let inside = divides & (out_row < vec4<u32>(g.out_height)) & (out_column < vec4<u32>(g.out_width));
    var run: Run;
    run.last = g.outputs;
    run.a = ((picture * g.out_height + out_row) * g.out_width + out_column) * g.outputs;
    run.a_step = 1u;
    run.count = select(vec4<u32>(0u), vec4<u32>(g.outputs), inside);
    run.b = (tap * g.inputs + inputs) * g.outputs;
    run.b_step = 1u;
    return run;
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let g = parameters.geometry;
    let tile = group_number(group, groups);
    let tile_columns = (g.inputs + TILE_COLUMNS - 1u) / TILE_COLUMNS;
    let first_pixel = tile / tile_columns * TILE_ROWS;
    let first_input = tile % tile_columns * TILE_COLUMNS;
    let pixels = g.pictures * g.height * g.width;
    if first_pixel >= pixels {
        return;
    }
    let pixel = rows_of(thread, first_pixel, pixels);
    picture = pixel / (g.height * g.width);
    row = pixel / g.width % g.height + g.before;
    column = pixel % g.width + g.before;
    inputs = columns_of(thread, first_input, g.inputs);
    multiply_lanes(thread, first_pixel, first_input, 0u, g.kernel * g.kernel);
}
