// y = x rounded down to an integer below `bound`.
struct Parameters {
    len: u32,
    bound: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = group_number(group, groups) * 256u + thread;
    if i < parameters.len {
        y[i] = u32(clamp(x[i], 0.0, f32(parameters.bound - 1u)));
    }
}
