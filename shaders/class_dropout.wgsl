// Labels, of which some become the one that stands for no class: drawn from the run's seed, the step and the picture's
// place in the whole step.
struct Parameters {
    labels: u32,
    pictures: u32, // of the batch, which may stand there several times
    probability: f32,
    unconditional: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> before: array<u32>;
@group(0) @binding(2) var<storage, read_write> after: array<u32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = group_number(group, groups) * 256u + thread;
    if index >= parameters.labels {
        return;
    }
    let seed = vec2<u32>(step.seed_low, step.seed_high);
    let key = picture_key(seed, CLASS_DROPOUT, step.first_picture + index % parameters.pictures);
    let bits = threefry2x32(key, vec2<u32>(step.step, 0u)).x;
    after[index] = select(before[index], parameters.unconditional, uniform_of(bits) < parameters.probability);
}
