// dtable[k] = the sum of dy[n] over the pictures n with label k, or the same added to what is there; rows of `dim`.
struct Parameters {
    classes: u32,
    dim: u32,
    pictures: u32,
    accumulate: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> labels: array<u32>;
@group(0) @binding(2) var<storage, read> dy: array<real2>;
@group(0) @binding(3) var<storage, read_write> dtable: array<real3>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let len = parameters.classes * parameters.dim;
    let first = group_number(group, groups) * 1024u + thread;
    for (var i = first; i < min(first + 1024u, len); i += 256u) {
        let class_number = i / parameters.dim;
        var sum = 0.0;
        for (var n = 0u; n < parameters.pictures; n++) {
            if labels[n] == class_number {
                sum += f32(dy[n * parameters.dim + i % parameters.dim]);
            }
        }
        if parameters.accumulate != 0u {
            sum += f32(dtable[i]);
        }
        dtable[i] = real3(sum);
    }
}
