// What guidance's output of each picture is multiplied by, so that its standard deviation is that of the conditional
// output, or phi of the way there. A workgroup a picture; src/kernels/guidance_rescale.rs names the equations.
struct Parameters {
    pictures: u32,
    elements: u32, // of each picture
    channels: u32,
    output_channels: u32,
    phi: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> table: array<f32>; // [row][weight 16]
@group(0) @binding(2) var<storage, read> output: array<f32>; // of the conditional pass, then of the other
@group(0) @binding(3) var<storage, read_write> factors: array<f32>;

// The conditional output and the guided one.
fn both_of(i: u32) -> vec2<f32> {
    let at = i / parameters.channels * parameters.output_channels + i % parameters.channels;
    let pass_len = parameters.pictures * parameters.elements / parameters.channels * parameters.output_channels;
    let conditional = output[at];
    let unconditional = output[pass_len + at];
    let weight = table[16u * step.sampler_row + 13u];
    return vec2<f32>(conditional, unconditional + weight * (conditional - unconditional));
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let picture = group_number(group, groups);
    if picture >= parameters.pictures {
        return;
    }
    let first = picture * parameters.elements;
    let end = first + parameters.elements;
    let count = f32(parameters.elements);
    var sums = vec2<f32>(0.0);
    for (var i = first + thread; i < end; i += 256u) {
        sums += both_of(i);
    }
    let mean = vec2<f32>(sum_over_group(sums.x, thread), sum_over_group(sums.y, thread)) / count;
    var squares = vec2<f32>(0.0);
    for (var i = first + thread; i < end; i += 256u) {
        let distance = both_of(i) - mean;
        squares += distance * distance;
    }
    let conditional = sqrt(sum_over_group(squares.x, thread) / count);
    let guided = sqrt(sum_over_group(squares.y, thread) / count);
    if thread == 0u {
        var factor = 1.0;
        if guided != 0.0 {
            factor = parameters.phi * conditional / guided + (1.0 - parameters.phi);
        }
        factors[picture] = factor;
    }
}
