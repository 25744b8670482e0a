// x + h v of all pictures, then x - h v, with h = reach noise and v of 1 and -1, drawn here; what the network is told, twice.
// A thread makes two elements.
struct Parameters {
    pictures: u32,
    elements: u32, // of each picture
    reach: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> levels: array<f32>; // [picture][column 8]
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> both: array<f32>; // [2][picture][element]
@group(0) @binding(4) var<storage, read_write> directions: array<f32>;
@group(0) @binding(5) var<storage, read_write> told: array<f32>; // [2][picture]

fn write(i: u32, distance: f32, bits: u32) {
    let direction = select(1.0, -1.0, bits >> 31u == 1u);
    directions[i] = direction;
    both[i] = x[i] + distance * direction;
    both[parameters.pictures * parameters.elements + i] = x[i] - distance * direction;
}

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
    let key = picture_key(seed, TRAINING_DIRECTION, step.first_picture + picture);
    let bits = threefry2x32(key, vec2<u32>(step.step, pair));
    let distance = parameters.reach * levels[8u * picture + 1u];
    let first = picture * parameters.elements + 2u * pair;
    write(first, distance, bits.x);
    if 2u * pair + 1u < parameters.elements {
        write(first + 1u, distance, bits.y);
    }
    if pair == 0u {
        told[picture] = levels[8u * picture + 5u];
        told[parameters.pictures + picture] = levels[8u * picture + 5u];
    }
}
