// By threads that hand dy round. A run is one row of output pixels, or what of it is in this workgroup's part.
var<private> first_pixel: u32;
var<private> last_pixel: u32;

// What the thread's four weight rows (kernel row, kernel column, input channel) stand for: the place that output row 0
// and column 0 see, which may be padding, the columns that see none, and the channel.
var<private> row: vec4<u32>;
var<private> column: vec4<u32>;
var<private> from_column: vec4<u32>;
var<private> columns: vec4<u32>;
var<private> channel: vec4<u32>;
var<private> outputs: vec2<u32>;

fn load_a(place: u32) -> f32 {
    return f32(x[place]);
}

fn load_b(place: u32) -> f32 {
    return f32(dy[place]);
}

fn run_at(number: u32) -> Run {
    let g = parameters.geometry;
    let picture = number / g.out_height;
    // Padding wraps around to a huge number, which the comparison with the size sorts out.
    let in_row = row + number % g.out_height * g.stride;
    let begin = number * g.out_width;
    var run: Run;
    run.first = max(first_pixel, begin) - begin;
    run.last = min(last_pixel, begin + g.out_width) - begin;
    run.a = ((picture * g.height + in_row) * g.width + column) * g.inputs + channel;
    run.a_step = g.stride * g.inputs;
    run.begin = from_column;
    run.count = select(vec4<u32>(0u), columns, in_row < vec4<u32>(g.height));
    run.b = begin * g.outputs + outputs;
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
    let number = group_number(group, groups);
    let depth = g.kernel * g.kernel * g.inputs;
    let tile_columns = (g.outputs + TILE_COLUMNS - 1u) / TILE_COLUMNS;
    let tiles = tile_columns * ((depth + TILE_ROWS - 1u) / TILE_ROWS);
    let split = number / tiles;
    if split >= parameters.splits {
        return;
    }
    let tile = number % tiles;
    let first_row = tile / tile_columns * TILE_ROWS;
    let first_output = tile % tile_columns * TILE_COLUMNS;
    first_pixel = split * parameters.pixels_per_split;
    last_pixel = min(first_pixel + parameters.pixels_per_split, g.pictures * g.out_height * g.out_width);
    first_sum = split * depth * g.outputs;

    let weight = rows_of(thread, first_row, depth);
    channel = weight % g.inputs;
    let tap = weight / g.inputs;
    row = tap / g.kernel - g.before;
    column = tap % g.kernel - g.before;
    // Inside are the output columns with before <= stride column + kernel column < width + before.
    let kernel_column = tap % g.kernel;
    let before = vec4<u32>(g.before);
    from_column = (max(before, kernel_column) - kernel_column + g.stride - 1u) / g.stride;
    let end = (max(before + g.width, kernel_column) - kernel_column + g.stride - 1u) / g.stride;
    columns = max(end, from_column) - from_column;
    outputs = columns_of(thread, first_output, g.outputs);
    multiply_lanes(thread, first_row, first_output, first_pixel / g.out_width, (last_pixel + g.out_width - 1u) / g.out_width);
}
