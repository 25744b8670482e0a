// convolution_grad_weight.wgsl for channels in fours, and output rows and splits of fours of pixels: the four pixels that
// a thread loads at a time then lie in one row. There is one run, the split's pixels.
@group(0) @binding(1) var<storage, read> x: array<real1x4>;
@group(0) @binding(2) var<storage, read> dy: array<real2x4>;
@group(0) @binding(3) var<storage, read_write> partials: array<real3x4>; // [split][weight]

// Known when it is compiled, so that dividing by them, once in every step, is cheap.
override out_height: u32;
override out_width: u32;

var<private> first_pixel: u32;
var<private> last_pixel: u32;
var<private> first_sum: u32;
// What output row 0 and column 0 see, which may be padding, and the first channel, of the thread's weight rows.
var<private> row: u32;
var<private> column: u32;
var<private> channel: u32;
var<private> output: u32;

fn begin_run(number: u32) -> u32 {
    return last_pixel - first_pixel;
}

fn load_x(picture_row: u32, in_row: u32, in_column: u32) -> vec4<f32> {
    let g = parameters.geometry;
    if in_row < g.height && in_column < g.width {
        return vec4<f32>(x[((picture_row + in_row) * g.width + in_column) * (g.inputs / 4u) + channel / 4u]);
    }
    return vec4<f32>(0.0);
}

fn load_a(k: u32) -> mat4x4<f32> {
    let g = parameters.geometry;
    let pixel = first_pixel + k;
    let picture_row = pixel / (out_height * out_width) * g.height;
    // Padding wraps around to a huge number, which the comparison with the size sorts out.
    let in_row = pixel / out_width % out_height * g.stride + row;
    let in_column = pixel % out_width * g.stride + column;
    return mat4x4<f32>(
        load_x(picture_row, in_row, in_column),
        load_x(picture_row, in_row, in_column + g.stride),
        load_x(picture_row, in_row, in_column + 2u * g.stride),
        load_x(picture_row, in_row, in_column + 3u * g.stride),
    );
}

fn load_b(k: u32) -> mat4x4<f32> {
    let step = parameters.geometry.outputs / 4u;
    let place = (first_pixel + k) * step + output / 4u;
    return mat4x4<f32>(
        vec4<f32>(dy[place]),
        vec4<f32>(dy[place + step]),
        vec4<f32>(dy[place + 2u * step]),
        vec4<f32>(dy[place + 3u * step]),
    );
}

fn store(weight: u32, output: u32, value: vec4<f32>) {
    let g = parameters.geometry;
    if weight < g.kernel * g.kernel * g.inputs && output < g.outputs {
        partials[(first_sum + weight * g.outputs + output) / 4u] = real3x4(value);
    }
}

@compute @workgroup_size(threads)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let g = parameters.geometry;
    let number = group_number(group, groups);
    let depth = g.kernel * g.kernel * g.inputs;
    let tile_columns = (g.outputs + tile - 1u) / tile;
    let tiles = tile_columns * ((depth + tile - 1u) / tile);
    let split = number / tiles;
    if split >= parameters.splits {
        return;
    }
    let place = number % tiles;
    let first_weight = place / tile_columns * tile;
    let first_output = place % tile_columns * tile;
    first_pixel = split * parameters.pixels_per_split;
    last_pixel = min(first_pixel + parameters.pixels_per_split, g.pictures * out_height * out_width);
    first_sum = split * depth * g.outputs;
    let weight = line_of(thread, first_weight, depth);
    let tap = weight / g.inputs;
    row = tap / g.kernel - g.before;
    column = tap % g.kernel - g.before;
    channel = weight % g.inputs;
    output = line_of(thread, first_output, g.outputs);
    multiply_tile(thread, first_weight, first_output, 0u, 1u);
}
