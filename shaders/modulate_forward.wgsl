// y[n, c] = vector[c] (1 + time[n, c]) (+ time[n, channels + c]); time is [pictures, 2 channels].
struct Parameters {
    pictures: u32,
    channels: u32,
    shifted: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> vector: array<real1>;
@group(0) @binding(2) var<storage, read> time: array<real2>;
@group(0) @binding(3) var<storage, read_write> y: array<real3>;

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
        var value = f32(vector[i % channels]) * (1.0 + f32(time[of_time]));
        if parameters.shifted != 0u {
            value += f32(time[of_time + channels]);
        }
        y[i] = real3(value);
    }
}
