// y[n, p, c] = x[n, p, c] + b[n, c].
struct Parameters {
    pictures: u32,
    pixels: u32,
    channels: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<real1>;
@group(0) @binding(2) var<storage, read> b: array<real2>;
@group(0) @binding(3) var<storage, read_write> y: array<real3>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let channels = parameters.channels;
    let picture_len = parameters.pixels * channels;
    let len = parameters.pictures * picture_len;
    let first = group_number(group, groups) * 1024u + thread;
    for (var i = first; i < min(first + 1024u, len); i += 256u) {
        y[i] = real3(f32(x[i]) + f32(b[i / picture_len * channels + i % channels]));
    }
}
