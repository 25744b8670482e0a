// y = (x - mean) / deviation * weight + bias, then SiLU if asked for. A thread handles one channel of 8 pixels.
struct Parameters {
    pictures: u32,
    pixels: u32,
    channels: u32,
    groups: u32,
    silu: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> statistics: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

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
    let of_group = 2u * (picture * parameters.groups + channel / (parameters.channels / parameters.groups));
    let mean = statistics[of_group];
    let scale = statistics[of_group + 1u] * weight[channel];
    let shift = bias[channel];
    let first = block % blocks * 8u;
    for (var pixel = first; pixel < min(first + 8u, parameters.pixels); pixel++) {
        let i = (picture * parameters.pixels + pixel) * parameters.channels + channel;
        var z = (x[i] - mean) * scale + shift;
        if parameters.silu != 0u {
            z = z / (1.0 + exp(-z));
        }
        y[i] = z;
    }
}
