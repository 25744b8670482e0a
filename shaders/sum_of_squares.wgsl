// Sums of squares over runs of 4096 elements, a workgroup for each.
struct Parameters {
    len: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<number>;
@group(0) @binding(2) var<storage, read_write> partials: array<f32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let partial = group_number(group, groups);
    let first = partial * 4096u;
    var sum = number(0.0);
    let last = min(first + 4096u, parameters.len) / together;
    for (var i = first / together + thread; i < last; i += 256u) {
        sum += x[i] * x[i];
    }
    let all = sum_over_group(sum_of(sum), thread);
    if thread == 0u && first < parameters.len {
        partials[partial] = all;
    }
}
