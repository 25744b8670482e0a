// By threads that hand weights round. A run is one place in the kernel.

// What the thread's four output pixels see through the kernel's first row and column, which may be padding.
var<private> picture: vec4<u32>;
var<private> row: vec4<u32>;
var<private> column: vec4<u32>;
var<private> outputs: vec2<u32>;

fn load_a(place: u32) -> f32 {
    return f32(x[place]);
}

fn load_b(place: u32) -> f32 {
    return f32(w[place]);
}

fn run_at(tap: u32) -> Run {
    let g = parameters.geometry;
    // Padding wraps around to a huge number, which the comparison with the size sorts out.
    let in_row = row + tap / g.kernel;
    let in_column = column + tap % g.kernel;
    let inside = (in_row < vec4<u32>(g.height)) & (in_column < vec4<u32>(g.width));
    var run: Run;
    run.last = g.inputs;
    run.a = ((picture * g.height + in_row) * g.width + in_column) * g.inputs;
    run.a_step = 1u;
    run.count = select(vec4<u32>(0u), vec4<u32>(g.inputs), inside);
    run.b = tap * g.inputs * g.outputs + outputs;
    run.b_step = g.outputs;
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
    let tile_columns = (g.outputs + TILE_COLUMNS - 1u) / TILE_COLUMNS;
    let first_pixel = tile / tile_columns * TILE_ROWS;
    let first_output = tile % tile_columns * TILE_COLUMNS;
    let pixels = g.pictures * g.out_height * g.out_width;
    if first_pixel >= pixels {
        return;
    }
    let pixel = rows_of(thread, first_pixel, pixels);
    picture = pixel / (g.out_height * g.out_width);
    row = pixel / g.out_width % g.out_height * g.stride - g.before;
    column = pixel % g.out_width * g.stride - g.before;
    outputs = columns_of(thread, first_output, g.outputs);
    multiply_lanes(thread, first_pixel, first_output, 0u, g.kernel * g.kernel);
}
