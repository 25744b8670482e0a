// What the errors of a picture's elements cost, summed over runs of 4096 of them and divided by the elements: a workgroup
// for each run. The output may have more channels than the goal.
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
@group(0) @binding(3) var<storage, read_write> partials: array<f32>; // [picture][run]

fn cost_of(difference: f32) -> f32 {
    let size = abs(difference);
    switch parameters.loss {
        case 1u: {
            return size;
        }
        case 2u: {
            let delta = parameters.delta;
            return select(delta * (size - 0.5 * delta), 0.5 * size * size, size <= delta);
        }
        default: {
            return size * size;
        }
    }
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let number = group_number(group, groups);
    let runs = (parameters.elements + 4095u) / 4096u;
    let picture = number / runs;
    let first = number % runs * 4096u;
    var sum = 0.0;
    if picture < parameters.pictures {
        for (var element = first + thread; element < min(first + 4096u, parameters.elements); element += 256u) {
            let i = picture * parameters.elements + element;
            var at = i;
            if parameters.outputs != parameters.channels {
                at = i / parameters.channels * parameters.outputs + i % parameters.channels;
            }
            sum += cost_of(f32(output[at]) - f32(goal[i]));
        }
    }
    let all = sum_over_group(sum, thread);
    if thread == 0u && picture < parameters.pictures {
        partials[number] = all / f32(parameters.elements);
    }
}
