// Sums over the pixels of each picture and channel, of dz (the gradient before SiLU) and of dz xhat (xhat: normalised
// x). A workgroup handles 16 channels of a picture with 16 threads each.
@group(0) @binding(5) var<storage, read> dy: array<real5>;
@group(0) @binding(6) var<storage, read_write> sum_dz: array<f32>;
@group(0) @binding(7) var<storage, read_write> sum_dz_xhat: array<f32>;

var<workgroup> partials: array<vec2<f32>, 256>; // [pixel lane 16][channel 16]

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let number = group_number(group, groups);
    let blocks = (parameters.channels + 15u) / 16u;
    let picture = number / blocks;
    if picture >= parameters.pictures {
        return;
    }
    let channel = number % blocks * 16u + thread % 16u;
    var sums = vec2<f32>(0.0);
    if channel < parameters.channels {
        let of_group = statistics_of(picture, channel);
        let mean = statistics[of_group];
        let deviation = statistics[of_group + 1u];
        let affine = affine_of(picture, channel);
        for (var pixel = thread / 16u; pixel < parameters.pixels; pixel += 16u) {
            let i = (picture * parameters.pixels + pixel) * parameters.channels + channel;
            let xhat = (f32(x[i]) - mean) * deviation;
            let dz = before_silu(f32(dy[i]), xhat, affine);
            sums += vec2<f32>(dz, dz * xhat);
        }
    }
    partials[thread] = sums;
    for (var half = 128u; half >= 16u; half /= 2u) {
        workgroupBarrier();
        if thread < half {
            partials[thread] += partials[thread + half];
        }
    }
    if thread < 16u && channel < parameters.channels {
        sum_dz[picture * parameters.channels + channel] = partials[thread].x;
        sum_dz_xhat[picture * parameters.channels + channel] = partials[thread].y;
    }
}
