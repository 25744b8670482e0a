// x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps, with t and eps of every picture drawn here. A thread makes four
// neighbouring elements.
struct Parameters {
    pictures: u32,
    elements: u32, // of each picture
    timesteps: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> tables: array<f32>; // [table 6][t]
@group(0) @binding(2) var<storage, read> x0: array<number>;
@group(0) @binding(3) var<storage, read_write> noisy: array<number>;
@group(0) @binding(4) var<storage, read_write> noise: array<number>;
@group(0) @binding(5) var<storage, read_write> timesteps: array<f32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = group_number(group, groups) * 256u + thread;
    let quads = (parameters.elements + 3u) / 4u;
    let picture = index / quads;
    if picture >= parameters.pictures {
        return;
    }
    let quad = index % quads;
    let seed = vec2<u32>(step.seed_low, step.seed_high);
    let picture_number = step.first_picture + picture;
    let timestep_key = picture_key(seed, TRAINING_TIMESTEP, picture_number);
    let timestep = threefry2x32(timestep_key, vec2<u32>(step.step, 0u)).x % parameters.timesteps;
    let normals = normal_quad(picture_key(seed, TRAINING_NOISE, picture_number), step.step, quad);
    let signal = sqrt(tables[parameters.timesteps + timestep]);
    let deviation = sqrt(tables[2u * parameters.timesteps + timestep]);
    let first = (picture * parameters.elements + 4u * quad) / together;
    let count = min(4u, parameters.elements - 4u * quad) / together;
    for (var i = 0u; i < count; i++) {
        let drawn = part_of(normals, i);
        noise[first + i] = drawn;
        noisy[first + i] = signal * x0[first + i] + deviation * drawn;
    }
    if quad == 0u {
        timesteps[picture] = f32(timestep);
    }
}
