// dvector[c] = the sum over the pictures n of dy[n, c] (1 + time[n, c]), or the same added to what is there.
struct Parameters {
    pictures: u32,
    channels: u32,
    accumulate: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> time: array<real1>;
@group(0) @binding(2) var<storage, read> dy: array<real2>;
@group(0) @binding(3) var<storage, read_write> dvector: array<real3>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let channel = group_number(group, groups) * 256u + thread;
    if channel >= parameters.channels {
        return;
    }
    var sum = 0.0;
    for (var n = 0u; n < parameters.pictures; n++) {
        let scale = f32(time[n * 2u * parameters.channels + channel]);
        sum += f32(dy[n * parameters.channels + channel]) * (1.0 + scale);
    }
    if parameters.accumulate != 0u {
        sum += f32(dvector[channel]);
    }
    dvector[channel] = real3(sum);
}
