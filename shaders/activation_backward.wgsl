// dx = dy f'(x) of the activation function of this number.
struct Parameters {
    len: u32,
    number: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<real1>;
@group(0) @binding(2) var<storage, read> dy: array<real2>;
@group(0) @binding(3) var<storage, read_write> dx: array<real3>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let first = group_number(group, groups) * 1024u + thread;
    for (var i = first; i < min(first + 1024u, parameters.len); i += 256u) {
        dx[i] = real3(f32(dy[i]) * activation_slope(parameters.number, f32(x[i])));
    }
}
