// Normal noise of a batch of pictures. A thread makes two neighbouring elements.
struct Parameters {
    pictures: u32,
    elements: u32, // of each picture
    purpose: u32,
    deviation: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read_write> noise: array<f32>;

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
    let key = picture_key(seed, parameters.purpose, step.first_picture + picture);
    let normals = parameters.deviation * normal_pair(key, step.step, pair);
    let first = picture * parameters.elements + 2u * pair;
    noise[first] = normals.x;
    if 2u * pair + 1u < parameters.elements {
        noise[first + 1u] = normals.y;
    }
}
