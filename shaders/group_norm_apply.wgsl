// y = (x - mean) / deviation * weight + bias, then SiLU if asked for. A thread handles one channel of 8 pixels.
@group(0) @binding(5) var<storage, read_write> y: array<real5>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = group_number(group, groups) * 256u + thread;
    let channel = index % parameters.channels;
    let blocks = (parameters.pixels + 7u) / 8u;
    let block = index / parameters.channels;
    let picture = block / blocks;
    if picture >= parameters.pictures {
        return;
    }
    let of_group = statistics_of(picture, channel);
    let mean = statistics[of_group];
    let affine = affine_of(picture, channel);
    let scale = statistics[of_group + 1u] * f32(weight[affine]);
    let shift = f32(bias[affine]);
    let first = block % blocks * 8u;
    for (var pixel = first; pixel < min(first + 8u, parameters.pixels); pixel++) {
        let i = (picture * parameters.pixels + pixel) * parameters.channels + channel;
        var z = (f32(x[i]) - mean) * scale + shift;
        if parameters.silu != 0u {
            z = silu_of(z);
        }
        y[i] = real5(z);
    }
}
