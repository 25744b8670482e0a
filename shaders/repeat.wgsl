// y = x, x, ...: the whole of it several times in a row.
struct Parameters {
    len: u32,
    times: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = group_number(group, groups) * 256u + thread;
    if index >= parameters.len {
        return;
    }
    for (var time = 0u; time < parameters.times; time++) {
        y[time * parameters.len + index] = x[index];
    }
}
