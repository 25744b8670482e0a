// By threads that hand b round. There is one run.
var<private> rows: vec4<u32>;
var<private> columns: vec2<u32>;

fn load_a(place: u32) -> f32 {
    return f32(a[place]);
}

fn load_b(place: u32) -> f32 {
    return f32(b[place]);
}

fn run_at(number: u32) -> Run {
    var run: Run;
    run.last = parameters.depth;
    run.a = a_first + rows * parameters.a.row;
    run.a_step = parameters.a.column;
    run.count = vec4<u32>(parameters.depth);
    run.b = b_first + columns * parameters.b.column;
    run.b_step = parameters.b.row;
    return run;
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let number = group_number(group, groups);
    let tile_columns = (parameters.columns + TILE_COLUMNS - 1u) / TILE_COLUMNS;
    let tiles = tile_columns * ((parameters.rows + TILE_ROWS - 1u) / TILE_ROWS);
    let batch = number / tiles;
    if batch >= parameters.batches {
        return;
    }
    begin_batch(batch);
    let first_row = number % tiles / tile_columns * TILE_ROWS;
    let first_column = number % tiles % tile_columns * TILE_COLUMNS;
    rows = rows_of(thread, first_row, parameters.rows);
    columns = columns_of(thread, first_column, parameters.columns);
    multiply_lanes(thread, first_row, first_column, 0u, 1u);
}
