// sum = factor x for the first micro-batch of a step, sum += factor x for the others.
struct Parameters {
    len: u32,
    factor: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<number>;
@group(0) @binding(2) var<storage, read_write> sum: array<number>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let first = group_number(group, groups) * (1024u / together) + thread;
    for (var i = first; i < min(first + 1024u / together, parameters.len / together); i += 256u) {
        let term = parameters.factor * x[i];
        if step.micro_batch == 0u {
            sum[i] = term;
        } else {
            sum[i] += term;
        }
    }
}
