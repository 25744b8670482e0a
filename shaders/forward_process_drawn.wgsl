// x_t = signal x_0 + noise eps and what the network is to predict, with eps of every picture drawn here. A thread makes
// four neighbouring elements.
struct Parameters {
    pictures: u32,
    elements: u32, // of each picture
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> levels: array<f32>; // [picture][column 8]
@group(0) @binding(2) var<storage, read> x0: array<number>;
@group(0) @binding(3) var<storage, read_write> noisy: array<number>;
@group(0) @binding(4) var<storage, read_write> goal: array<number>;

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
    let key = picture_key(seed, TRAINING_NOISE, step.first_picture + picture);
    let normals = normal_quad(key, step.step, quad);
    let signal = levels[8u * picture];
    let deviation = levels[8u * picture + 1u];
    let of_x0 = levels[8u * picture + 2u];
    let of_epsilon = levels[8u * picture + 3u];
    let first = (picture * parameters.elements + 4u * quad) / together;
    let count = min(4u, parameters.elements - 4u * quad) / together;
    for (var i = 0u; i < count; i++) {
        let drawn = part_of(normals, i);
        let clean = x0[first + i];
        noisy[first + i] = signal * clean + deviation * drawn;
        goal[first + i] = of_x0 * clean + of_epsilon * drawn;
    }
}
