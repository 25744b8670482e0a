// y = factor x + offset.
struct Parameters {
    len: u32,
    factor: f32,
    offset: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<real1>;
@group(0) @binding(2) var<storage, read_write> y: array<real2>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let first = group_number(group, groups) * 1024u + thread;
    for (var i = first; i < min(first + 1024u, parameters.len); i += 256u) {
        y[i] = real2(parameters.factor * f32(x[i]) + parameters.offset);
    }
}
