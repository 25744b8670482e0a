// convolution_forward.wgsl for channels in fours. A run is one place in the kernel.
@group(0) @binding(1) var<storage, read> x: array<real1x4>;
@group(0) @binding(2) var<storage, read> w: array<real2x4>;
@group(0) @binding(3) var<storage, read> bias: array<real3x4>;
@group(0) @binding(4) var<storage, read> per_picture: array<real4x4>; // [picture][output]
@group(0) @binding(5) var<storage, read> residual: array<real5x4>; // as y
@group(0) @binding(6) var<storage, read_write> y: array<real6x4>;

// What the thread's four output pixels see through the kernel's first row and column, which may be padding.
var<private> picture: vec4<u32>;
var<private> row: vec4<u32>;
var<private> column: vec4<u32>;
var<private> output: u32;
// Of this run: where x begins for each pixel, whether there is any, and where w begins, in vectors.
var<private> x_first: vec4<u32>;
var<private> inside: vec4<bool>;
var<private> w_first: u32;

fn begin_run(tap: u32) -> u32 {
    let g = parameters.geometry;
    // Padding wraps around to a huge number, which the comparison with the size sorts out.
    let in_row = row + tap / g.kernel;
    let in_column = column + tap % g.kernel;
    inside = (in_row < vec4<u32>(g.height)) & (in_column < vec4<u32>(g.width));
    x_first = ((picture * g.height + in_row) * g.width + in_column) * (g.inputs / 4u);
    w_first = (tap * g.inputs * g.outputs + output) / 4u;
    return g.inputs;
}

fn load_x(place: u32, is_inside: bool) -> vec4<f32> {
    if is_inside {
        return vec4<f32>(x[place]);
    }
    return vec4<f32>(0.0);
}

fn load_a(k: u32) -> mat4x4<f32> {
    let place = x_first + k / 4u;
    return transpose(mat4x4<f32>(
        load_x(place.x, inside.x), load_x(place.y, inside.y), load_x(place.z, inside.z), load_x(place.w, inside.w),
    ));
}

fn load_b(k: u32) -> mat4x4<f32> {
    let step = parameters.geometry.outputs / 4u;
    let place = w_first + k * step;
    return mat4x4<f32>(
        vec4<f32>(w[place]),
        vec4<f32>(w[place + step]),
        vec4<f32>(w[place + 2u * step]),
        vec4<f32>(w[place + 3u * step]),
    );
}

fn store(pixel: u32, output: u32, value: vec4<f32>) {
    let g = parameters.geometry;
    if pixel < g.pictures * g.out_height * g.out_width && output < g.outputs {
        var sum = value;
        if parameters.has_bias != 0u {
            sum += vec4<f32>(bias[output / 4u]);
        }
        if parameters.has_per_picture != 0u {
            sum += vec4<f32>(per_picture[(pixel / (g.out_height * g.out_width) * g.outputs + output) / 4u]);
        }
        let place = (pixel * g.outputs + output) / 4u;
        if parameters.has_residual != 0u {
            sum += vec4<f32>(residual[place]);
        }
        y[place] = real6x4(sum);
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
    let tile_columns = (g.outputs + tile - 1u) / tile;
    let first_pixel = number / tile_columns * tile;
    let first_output = number % tile_columns * tile;
    let pixels = g.pictures * g.out_height * g.out_width;
    if first_pixel >= pixels {
        return;
    }
    let pixel = lines_of(thread, first_pixel, pixels);
    picture = pixel / (g.out_height * g.out_width);
    row = pixel / g.out_width % g.out_height * g.stride - g.before;
    column = pixel % g.out_width * g.stride - g.before;
    output = line_of(thread, first_output, g.outputs);
    multiply_tile(thread, first_pixel, first_output, 0u, g.kernel * g.kernel);
}
