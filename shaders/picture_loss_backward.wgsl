// The gradient of each picture's loss by its output: 0 in channels that the goal has not got.
struct Parameters {
    pictures: u32,
    elements: u32, // of each picture's goal
    channels: u32,
    outputs: u32,
    loss: u32, // 0 squared, 1 absolute, 2 Huber's
    delta: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> output: array<real1>;
@group(0) @binding(2) var<storage, read> goal: array<real2>;
@group(0) @binding(3) var<storage, read> upstream: array<f32>; // [picture]
@group(0) @binding(4) var<storage, read_write> gradient: array<real4>;

fn slope_of(difference: f32) -> f32 {
    switch parameters.loss {
        case 1u: {
            return sign(difference);
        }
        case 2u: {
            return select(difference, sign(difference) * parameters.delta, abs(difference) > parameters.delta);
        }
        default: {
            return 2.0 * difference;
        }
    }
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let first = group_number(group, groups) * 1024u + thread;
    let of_picture = parameters.elements / parameters.channels * parameters.outputs;
    for (var i = first; i < min(first + 1024u, parameters.pictures * of_picture); i += 256u) {
        let scale = upstream[i / of_picture] / f32(parameters.elements);
        let channel = i % parameters.outputs;
        var slope = 0.0;
        if channel < parameters.channels {
            slope = slope_of(f32(output[i]) - f32(goal[i / parameters.outputs * parameters.channels + channel]));
        }
        gradient[i] = real4(scale * slope);
    }
}
