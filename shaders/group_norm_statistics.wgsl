// Mean and 1 / standard deviation of every group of channels of every picture; a workgroup for each. Two passes, since
// the mean of the squares less the square of the mean cancels.
struct Parameters {
    pictures: u32,
    pixels: u32,
    channels: u32,
    groups: u32,
    epsilon: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<real1>;
@group(0) @binding(2) var<storage, read_write> statistics: array<f32>; // [picture][group][mean, 1 / deviation]

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let number = group_number(group, groups);
    if number >= parameters.pictures * parameters.groups {
        return;
    }
    let size = parameters.channels / parameters.groups;
    let count = parameters.pixels * size;
    let first = number / parameters.groups * parameters.pixels * parameters.channels + number % parameters.groups * size;
    var sum = 0.0;
    for (var i = thread; i < count; i += 256u) {
        sum += f32(x[first + i / size * parameters.channels + i % size]);
    }
    let mean = sum_over_group(sum, thread) / f32(count);
    var squares = 0.0;
    for (var i = thread; i < count; i += 256u) {
        let difference = f32(x[first + i / size * parameters.channels + i % size]) - mean;
        squares += difference * difference;
    }
    let variance = sum_over_group(squares, thread) / f32(count);
    if thread == 0u {
        statistics[2u * number] = mean;
        statistics[2u * number + 1u] = 1.0 / sqrt(variance + parameters.epsilon);
    }
}
