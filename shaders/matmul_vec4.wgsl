// matmul.wgsl for operands in vectors of four: rows of c, and either rows or columns of a and b. There is one run.
@group(0) @binding(1) var<storage, read> a: array<real1x4>;
@group(0) @binding(2) var<storage, read> b: array<real2x4>;
@group(0) @binding(3) var<storage, read> bias: array<real3x4>;
@group(0) @binding(4) var<storage, read_write> c: array<real4x4>;

// Which way the vectors of a and b lie: along the inner dimension, or across it.
override a_along_depth: bool;
override b_along_depth: bool;

// Where the thread's lines begin, in vectors.
var<private> a_place: vec4<u32>;
var<private> b_place: vec4<u32>;

fn begin_run(number: u32) -> u32 {
    return parameters.depth;
}

fn load_a(k: u32) -> mat4x4<f32> {
    if a_along_depth {
        let place = a_place + k / 4u;
        return transpose(mat4x4<f32>(
            vec4<f32>(a[place.x]),
            vec4<f32>(a[place.y]),
            vec4<f32>(a[place.z]),
            vec4<f32>(a[place.w]),
        ));
    }
    let step = parameters.a.column / 4u;
    let place = a_place.x + k * step;
    return mat4x4<f32>(
        vec4<f32>(a[place]),
        vec4<f32>(a[place + step]),
        vec4<f32>(a[place + 2u * step]),
        vec4<f32>(a[place + 3u * step]),
    );
}

fn load_b(k: u32) -> mat4x4<f32> {
    if b_along_depth {
        let place = b_place + k / 4u;
        return transpose(mat4x4<f32>(
            vec4<f32>(b[place.x]),
            vec4<f32>(b[place.y]),
            vec4<f32>(b[place.z]),
            vec4<f32>(b[place.w]),
        ));
    }
    let step = parameters.b.row / 4u;
    let place = b_place.x + k * step;
    return mat4x4<f32>(
        vec4<f32>(b[place]),
        vec4<f32>(b[place + step]),
        vec4<f32>(b[place + 2u * step]),
        vec4<f32>(b[place + 3u * step]),
    );
}

fn store(row: u32, column: u32, value: vec4<f32>) {
    if row >= parameters.rows || column >= parameters.columns {
        return;
    }
    let place = (c_first + row * parameters.c.row + column) / 4u;
    var sum = parameters.scale * value;
    if parameters.has_bias != 0u {
        sum += vec4<f32>(bias[column / 4u]);
    }
    if parameters.accumulate != 0u {
        sum += vec4<f32>(c[place]);
    }
    c[place] = real4x4(sum);
}

@compute @workgroup_size(threads)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let number = group_number(group, groups);
    let tile_columns = (parameters.columns + tile - 1u) / tile;
    let tiles = tile_columns * ((parameters.rows + tile - 1u) / tile);
    let batch = number / tiles;
    if batch >= parameters.batches {
        return;
    }
    begin_batch(batch);
    let first_row = number % tiles / tile_columns * tile;
    let first_column = number % tiles % tile_columns * tile;
    a_place = (a_first + lines_of(thread, first_row, parameters.rows) * parameters.a.row) / 4u;
    b_place = (b_first + lines_of(thread, first_column, parameters.columns) * parameters.b.column) / 4u;
    if !a_along_depth {
        a_place = vec4<u32>((a_first + line_of(thread, first_row, parameters.rows)) / 4u);
    }
    if !b_along_depth {
        b_place = vec4<u32>((b_first + line_of(thread, first_column, parameters.columns)) / 4u);
    }
    multiply_tile(thread, first_row, first_column, 0u, 1u);
}
