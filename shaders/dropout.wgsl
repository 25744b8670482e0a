// y = x scale where the element is kept, else 0: kept if a uniform number, drawn from the run's seed, the layer, the
// picture's number, the step and the element, is at least the probability of a drop. A thread makes two elements.
struct Parameters {
    pictures: u32,
    elements: u32, // of each picture
    purpose: u32, // and layer
    probability: f32,
    scale: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<real1>;
@group(0) @binding(2) var<storage, read_write> y: array<real2>;

fn kept(value: f32, bits: u32) -> f32 {
    return select(0.0, value * parameters.scale, uniform_of(bits) >= parameters.probability);
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
    let key = picture_key(seed, parameters.purpose, step.first_picture + picture);
    let bits = threefry2x32(key, vec2<u32>(step.step, pair));
    let first = picture * parameters.elements + 2u * pair;
    y[first] = real2(kept(f32(x[first]), bits.x));
    if 2u * pair + 1u < parameters.elements {
        y[first + 1u] = real2(kept(f32(x[first + 1u]), bits.y));
    }
}
