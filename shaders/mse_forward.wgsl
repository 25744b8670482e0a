// Sums of (x - target)^2 over runs of 4096 elements, a workgroup for each.
struct Parameters {
    len: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<real1>;
@group(0) @binding(2) var<storage, read> goal: array<real2>;
@group(0) @binding(3) var<storage, read_write> partials: array<f32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let number = group_number(group, groups);
    let first = number * 4096u;
    var sum = 0.0;
    for (var i = first + thread; i < min(first + 4096u, parameters.len); i += 256u) {
        let difference = f32(x[i]) - f32(goal[i]);
        sum += difference * difference;
    }
    let all = sum_over_group(sum, thread);
    if thread == 0u && first < parameters.len {
        partials[number] = all;
    }
}
