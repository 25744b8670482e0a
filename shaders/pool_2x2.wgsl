// y[i, j] = scale times the sum of x[2i + a, 2j + b] over a, b in {0, 1}:
// x [2 rows, 2 width, channels] -> y [rows, width, channels].
struct Parameters {
    rows: u32,
    width: u32,
    channels: u32,
    scale: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<real1>;
@group(0) @binding(2) var<storage, read_write> y: array<real2>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let width = parameters.width;
    let channels = parameters.channels;
    let len = parameters.rows * width * channels;
    let first = group_number(group, groups) * 1024u + thread;
    for (var i = first; i < min(first + 1024u, len); i += 256u) {
        let channel = i % channels;
        let column = i / channels % width;
        let row = i / (channels * width);
        let upper = (4u * row * width + 2u * column) * channels + channel;
        let lower = upper + 2u * width * channels;
        y[i] = real2(parameters.scale * (f32(x[upper]) + f32(x[upper + channels]) + f32(x[lower]) + f32(x[lower + channels])));
    }
}
