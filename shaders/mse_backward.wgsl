// dx = upstream 2 (x - target) / len.
struct Parameters {
    len: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<real1>;
@group(0) @binding(2) var<storage, read> goal: array<real2>;
@group(0) @binding(3) var<storage, read> upstream: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<real4>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let first = group_number(group, groups) * 1024u + thread;
    let scale = upstream[0] * 2.0 / f32(parameters.len);
    for (var i = first; i < min(first + 1024u, parameters.len); i += 256u) {
        dx[i] = real4(scale * (f32(x[i]) - f32(goal[i])));
    }
}
