// dx = (dz weight - (S1 + xhat S2) / count) / deviation: dz is the gradient before SiLU, xhat the normalised x, S1 and S2
// the group's sums of dz weight and dz weight xhat. A thread handles one channel of 8 pixels.
@group(0) @binding(5) var<storage, read> dy: array<real5>;
@group(0) @binding(6) var<storage, read> sum_dz: array<f32>;
@group(0) @binding(7) var<storage, read> sum_dz_xhat: array<f32>;
@group(0) @binding(8) var<storage, read_write> dx: array<real8>;

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
    let size = parameters.channels / parameters.groups;
    let count = f32(parameters.pixels * size);
    let of_group = statistics_of(picture, channel);
    let mean = statistics[of_group];
    let deviation = statistics[of_group + 1u];
    var s1 = 0.0;
    var s2 = 0.0;
    for (var i = channel / size * size; i < (channel / size + 1u) * size; i++) {
        let w = f32(weight[affine_of(picture, i)]);
        s1 += sum_dz[picture * parameters.channels + i] * w;
        s2 += sum_dz_xhat[picture * parameters.channels + i] * w;
    }
    s1 /= count;
    s2 /= count;
    let affine = affine_of(picture, channel);
    let first = block % blocks * 8u;
    for (var pixel = first; pixel < min(first + 8u, parameters.pixels); pixel++) {
        let i = (picture * parameters.pixels + pixel) * parameters.channels + channel;
        let xhat = (f32(x[i]) - mean) * deviation;
        let dz = before_silu(f32(dy[i]), xhat, affine);
        dx[i] = real8(deviation * (dz * f32(weight[affine]) - s1 - xhat * s2));
    }
}
