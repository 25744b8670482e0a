// y[n] = x[n] / t[n] for pictures of `elements`; a timestep of 0 counts as 1.
struct Parameters {
    pictures: u32,
    elements: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<real1>;
@group(0) @binding(2) var<storage, read> timesteps: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<real3>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let len = parameters.pictures * parameters.elements;
    let first = group_number(group, groups) * 1024u + thread;
    for (var i = first; i < min(first + 1024u, len); i += 256u) {
        let timestep = timesteps[i / parameters.elements];
        y[i] = real3(f32(x[i]) / select(timestep, 1.0, timestep == 0.0));
    }
}
