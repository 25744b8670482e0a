// What is known of a picture, noised to the level where x stands, in the place of that part of x. A thread changes a block of
// pixels, in one channel or in all of them; src/kernels/known_part.rs has the projection.
struct Parameters {
    pictures: u32,
    height: u32,
    width: u32,
    channels: u32,
    block: u32, // side, in pixels
    grey: u32, // one number is known of all channels
    red: f32, // its weights
    green: f32,
    blue: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> levels: array<f32>; // [row][signal, noise]
@group(0) @binding(2) var<storage, read> known: array<f32>;
@group(0) @binding(3) var<storage, read> mask: array<f32>; // [picture][y][x]
@group(0) @binding(4) var<storage, read_write> x: array<f32>;

fn weight(channel: u32) -> f32 {
    if parameters.grey == 0u {
        return 1.0;
    }
    if channel == 0u {
        return parameters.red;
    }
    return select(parameters.blue, parameters.green, channel == 1u);
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = group_number(group, groups) * 64u + thread;
    let together = select(1u, parameters.channels, parameters.grey != 0u);
    let of_pixel = parameters.channels / together;
    let across = parameters.width / parameters.block;
    let blocks = parameters.height / parameters.block * across;
    let picture = index / (blocks * of_pixel);
    if picture >= parameters.pictures {
        return;
    }
    let first_channel = index % of_pixel * together;
    let number = index / of_pixel % blocks;
    let top = number / across * parameters.block;
    let left = number % across * parameters.block;
    let area = parameters.height * parameters.width;
    let signal = levels[2u * step.sampler_row];
    let noise = levels[2u * step.sampler_row + 1u];
    let key = picture_key(vec2<u32>(step.seed_low, step.seed_high), KNOWN_NOISE, step.first_picture + picture);

    var difference = 0.0;
    var alone = 0.0;
    for (var pixel = 0u; pixel < parameters.block * parameters.block; pixel++) {
        let at = (top + pixel / parameters.block) * parameters.width + left + pixel % parameters.block;
        for (var channel = first_channel; channel < first_channel + together; channel++) {
            let element = at * parameters.channels + channel;
            let i = picture * area * parameters.channels + element;
            let z = normal_pair(key, step.sampler_row, element / 2u)[element % 2u];
            alone = signal * known[i] + noise * z;
            difference += weight(channel) * (alone - x[i]);
        }
    }
    var squares = 0.0;
    for (var channel = 0u; channel < together; channel++) {
        squares += weight(channel) * weight(channel);
    }
    difference /= f32(parameters.block * parameters.block) * squares;
    for (var pixel = 0u; pixel < parameters.block * parameters.block; pixel++) {
        let at = (top + pixel / parameters.block) * parameters.width + left + pixel % parameters.block;
        let m = mask[picture * area + at];
        for (var channel = first_channel; channel < first_channel + together; channel++) {
            let i = (picture * area + at) * parameters.channels + channel;
            // A pixel that is known is what is known, without rounding.
            let whole = parameters.block == 1u && together == 1u;
            x[i] = (1.0 - m) * x[i] + m * select(x[i] + weight(channel) * difference, alone, whole);
        }
    }
}
