// y [pictures, pixels + 1, channels]: the mean of a picture's pixels, then the pixels of x [pictures, pixels, channels],
// each plus its row of position [pixels + 1, channels]. A thread makes a channel's first token, or one element of others.
struct Parameters {
    pictures: u32,
    pixels: u32,
    channels: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<real1>;
@group(0) @binding(2) var<storage, read> position: array<real2>;
@group(0) @binding(3) var<storage, read_write> y: array<real3>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = (parameters.pixels + 1u) * parameters.channels;
    let i = group_number(group, groups) * 256u + thread;
    let picture = i / row;
    if picture >= parameters.pictures {
        return;
    }
    let within = i % row;
    let first = picture * parameters.pixels * parameters.channels;
    if within >= parameters.channels {
        y[i] = real3(f32(x[first + within - parameters.channels]) + f32(position[within]));
        return;
    }
    var sum = 0.0;
    for (var pixel = 0u; pixel < parameters.pixels; pixel++) {
        sum += f32(x[first + pixel * parameters.channels + within]);
    }
    y[i] = real3(sum / f32(parameters.pixels) + f32(position[within]));
}
