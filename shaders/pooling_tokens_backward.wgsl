// dx [pictures, pixels, channels] = what the pixel's own token gets, and its share of what the mean gets.
struct Parameters {
    pictures: u32,
    pixels: u32,
    channels: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> dy: array<real1>;
@group(0) @binding(2) var<storage, read_write> dx: array<real2>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = parameters.pixels * parameters.channels;
    let i = group_number(group, groups) * 256u + thread;
    let picture = i / row;
    if picture >= parameters.pictures {
        return;
    }
    let within = i % row;
    let mean = picture * (row + parameters.channels);
    let share = f32(dy[mean + within % parameters.channels]) / f32(parameters.pixels);
    dx[i] = real2(f32(dy[mean + parameters.channels + within]) + share);
}
