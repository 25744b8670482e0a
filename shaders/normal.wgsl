// Normal noise of a batch of pictures. A thread makes four neighbouring elements.
struct Parameters {
    pictures: u32,
    elements: u32, // of each picture
    purpose: u32,
    deviation: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read_write> noise: array<number>;

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
    let key = picture_key(seed, parameters.purpose, step.first_picture + picture);
    let normals = parameters.deviation * normal_quad(key, step.step, quad);
    let first = (picture * parameters.elements + 4u * quad) / together;
    let count = min(4u, parameters.elements - 4u * quad) / together;
    for (var i = 0u; i < count; i++) {
        noise[first + i] = part_of(normals, i);
    }
}
