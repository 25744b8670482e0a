// The x_0 that a stage of a sampler goes by: of x and the network's output, guided and clipped as sampler_step.wgsl does it.
struct Parameters {
    pictures: u32,
    elements: u32, // of each picture
    channels: u32,
    output_channels: u32,
    guided: u32, // the output is of two passes
    thresholding: u32,
    clip_range: f32,
    rescaled: u32,
    pulled: u32, // there is a gradient
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> table: array<f32>; // [row][weight 16]
@group(0) @binding(2) var<storage, read> output: array<f32>;
@group(0) @binding(3) var<storage, read> factors: array<f32>; // [picture], of what guidance makes
@group(0) @binding(4) var<storage, read> thresholds: array<f32>;
@group(0) @binding(5) var<storage, read> gradient: array<f32>;
@group(0) @binding(6) var<storage, read> x: array<f32>;
@group(0) @binding(7) var<storage, read_write> predicted: array<f32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = group_number(group, groups) * 256u + thread;
    let len = parameters.pictures * parameters.elements;
    if i >= len {
        return;
    }
    let picture = i / parameters.elements;
    let at = i / parameters.channels * parameters.output_channels + i % parameters.channels;
    let w = 16u * step.sampler_row;
    var out = output[at];
    if parameters.guided != 0u {
        let unconditional = output[len / parameters.channels * parameters.output_channels + at];
        out = unconditional + table[w + 13u] * (out - unconditional);
        if parameters.rescaled != 0u {
            out *= factors[picture];
        }
    }
    if parameters.pulled != 0u {
        out += table[w + 14u] * gradient[i];
    }
    var range = parameters.clip_range;
    var divisor = 1.0;
    if parameters.thresholding != 0u {
        range = thresholds[picture];
        divisor = range;
    }
    predicted[i] = clipped(table[w] * x[i] + table[w + 1u] * out, range) / divisor;
}
