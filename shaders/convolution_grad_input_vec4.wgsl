// convolution_grad_input.wgsl for channels in fours. A run is one place in the kernel.
struct Parameters {
    geometry: Geometry,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> dy: array<real1x4>;
@group(0) @binding(2) var<storage, read> w: array<real2x4>;
@group(0) @binding(3) var<storage, read_write> dx: array<real3x4>;

// The thread's four input pixels, from the top left corner of what an output pixel sees.
var<private> picture: vec4<u32>;
var<private> row: vec4<u32>;
var<private> column: vec4<u32>;
var<private> input: u32;
// Of this run: where dy begins for each pixel, whether there is any, and where w begins, in vectors.
var<private> dy_first: vec4<u32>;
var<private> inside: vec4<bool>;
var<private> w_first: u32;

fn begin_run(tap: u32) -> u32 {
    let g = parameters.geometry;
    // stride * output place = input place + before - kernel place, where that divides
    let below = row - tap / g.kernel;
    let right = column - tap % g.kernel;
    let out_row = below / g.stride;
    let out_column = right / g.stride;
    let divides = (below % g.stride == vec4<u32>(0u)) & (right % g.stride == vec4<u32>(0u));
    inside = divides & (out_row < vec4<u32>(g.out_height)) & (out_column < vec4<u32>(g.out_width));
    dy_first = ((picture * g.out_height + out_row) * g.out_width + out_column) * (g.outputs / 4u);
    w_first = (tap * g.inputs + input) * (g.outputs / 4u);
    return g.outputs;
}

fn load_dy(place: u32, is_inside: bool) -> vec4<f32> {
    if is_inside {
        return vec4<f32>(dy[place]);
    }
    return vec4<f32>(0.0);
}

fn load_a(k: u32) -> mat4x4<f32> {
    let place = dy_first + k / 4u;
    return transpose(mat4x4<f32>(
        load_dy(place.x, inside.x), load_dy(place.y, inside.y), load_dy(place.z, inside.z), load_dy(place.w, inside.w),
    ));
}

fn load_b(k: u32) -> mat4x4<f32> {
    let step = parameters.geometry.outputs / 4u;
    let place = w_first + k / 4u;
    return transpose(mat4x4<f32>(
        vec4<f32>(w[place]),
        vec4<f32>(w[place + step]),
        vec4<f32>(w[place + 2u * step]),
        vec4<f32>(w[place + 3u * step]),
    ));
}

fn store(pixel: u32, input: u32, value: vec4<f32>) {
    let g = parameters.geometry;
    if pixel < g.pictures * g.height * g.width && input < g.inputs {
        dx[(pixel * g.inputs + input) / 4u] = real3x4(value);
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
    let tile_columns = (g.inputs + tile - 1u) / tile;
    let first_pixel = number / tile_columns * tile;
    let first_input = number % tile_columns * tile;
    let pixels = g.pictures * g.height * g.width;
    if first_pixel >= pixels {
        return;
    }
    let pixel = lines_of(thread, first_pixel, pixels);
    picture = pixel / (g.height * g.width);
    row = pixel / g.width % g.height + g.before;
    column = pixel % g.width + g.before;
    input = line_of(thread, first_input, g.inputs);
    multiply_tile(thread, first_pixel, first_input, 0u, g.kernel * g.kernel);
}
