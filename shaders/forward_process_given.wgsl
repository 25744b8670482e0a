// x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps for given t and eps.
struct Parameters {
    pictures: u32,
    elements: u32, // of each picture
    timesteps: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> tables: array<f32>; // [table 6][t]
@group(0) @binding(2) var<storage, read> x0: array<f32>;
@group(0) @binding(3) var<storage, read> noise: array<f32>;
@group(0) @binding(4) var<storage, read> timesteps: array<f32>;
@group(0) @binding(5) var<storage, read_write> noisy: array<f32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let first = group_number(group, groups) * 1024u + thread;
    let len = parameters.pictures * parameters.elements;
    for (var i = first; i < min(first + 1024u, len); i += 256u) {
        let timestep = u32(timesteps[i / parameters.elements]);
        let signal = sqrt(tables[parameters.timesteps + timestep]);
        let deviation = sqrt(tables[2u * parameters.timesteps + timestep]);
        noisy[i] = signal * x0[i] + deviation * noise[i];
    }
}
