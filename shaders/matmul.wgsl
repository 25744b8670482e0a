// By tiles in workgroup memory.
fn a_at(row: u32, k: u32) -> f32 {
    if row < parameters.rows && k < parameters.depth {
        return f32(a[a_first + row * parameters.a.row + k * parameters.a.column]);
    }
    return 0.0;
}

fn load_a(row: u32, k: u32) -> vec4<f32> {
    return vec4<f32>(a_at(row, k), a_at(row + 1u, k), a_at(row + 2u, k), a_at(row + 3u, k));
}

fn b_at(k: u32, column: u32) -> f32 {
    if k < parameters.depth && column < parameters.columns {
        return f32(b[b_first + k * parameters.b.row + column * parameters.b.column]);
    }
    return 0.0;
}

fn load_b(k: u32, column: u32) -> vec4<f32> {
    return vec4<f32>(b_at(k, column), b_at(k, column + 1u), b_at(k, column + 2u), b_at(k, column + 3u));
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let number = group_number(group, groups);
    let tile_columns = (parameters.columns + 63u) / 64u;
    let tiles = tile_columns * ((parameters.rows + 63u) / 64u);
    let batch = number / tiles;
    if batch >= parameters.batches {
        return;
    }
    begin_batch(batch);
    let tile = number % tiles;
    multiply_tile(thread, tile / tile_columns * 64u, tile % tile_columns * 64u, 0u, parameters.depth);
}
