// x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps, with t and eps of every picture drawn here. A thread makes two
// neighbouring elements.
struct Parameters {
    pictures: u32,
    elements: u32, // of each picture
    timesteps: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> tables: array<f32>; // sqrt(abar_t), then sqrt(1 - abar_t)
@group(0) @binding(2) var<storage, read> x0: array<f32>;
@group(0) @binding(3) var<storage, read_write> noisy: array<f32>;
@group(0) @binding(4) var<storage, read_write> noise: array<f32>;
@group(0) @binding(5) var<storage, read_write> timesteps: array<f32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = group_number(group, groups) * 256u + thread;
    let pairs = (parameters.elements + 1u) / 2u;
    let picture = index / pairs;
    if picture >= parameters.pictures {
        return;
    }
    let pair = index % pairs;
    let seed = vec2<u32>(step.seed_low, step.seed_high);
    let number = step.first_picture + picture;
    let timestep_key = picture_key(seed, TRAINING_TIMESTEP, number);
    let timestep = threefry2x32(timestep_key, vec2<u32>(step.step, 0u)).x % parameters.timesteps;
    let normals = normal_pair(picture_key(seed, TRAINING_NOISE, number), step.step, pair);
    let signal = tables[timestep];
    let deviation = tables[parameters.timesteps + timestep];
    let first = picture * parameters.elements + 2u * pair;
    noise[first] = normals.x;
    noisy[first] = signal * x0[first] + deviation * normals.x;
    if 2u * pair + 1u < parameters.elements {
        noise[first + 1u] = normals.y;
        noisy[first + 1u] = signal * x0[first + 1u] + deviation * normals.y;
    }
    if pair == 0u {
        timesteps[picture] = f32(timestep);
    }
}
