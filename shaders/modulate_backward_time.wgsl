// dtime[n, c] = dy[n, c] vector[c] and dtime[n, channels + c] = dy[n, c], or 0 where there is no shift.
struct Parameters {
    pictures: u32,
    channels: u32,
    shifted: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> vector: array<real1>;
@group(0) @binding(2) var<storage, read> dy: array<real2>;
@group(0) @binding(3) var<storage, read_write> dtime: array<real3>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let channels = parameters.channels;
    let first = group_number(group, groups) * 1024u + thread;
    for (var i = first; i < min(first + 1024u, parameters.pictures * channels); i += 256u) {
        let of_time = i / channels * 2u * channels + i % channels;
        let gradient = f32(dy[i]);
        dtime[of_time] = real3(gradient * f32(vector[i % channels]));
        dtime[of_time + channels] = real3(select(0.0, gradient, parameters.shifted != 0u));
    }
}
