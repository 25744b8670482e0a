// Random bits for pairs of keys and counters: what the generator is tested with against its known answers.
struct Parameters {
    len: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> keys: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> counters: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> bits: array<vec2<u32>>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = group_number(group, groups) * 256u + thread;
    if i < parameters.len {
        bits[i] = threefry2x32(keys[i], counters[i]);
    }
}
