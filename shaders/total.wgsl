// out = scale times the sum of the partial sums, or its root. One workgroup.
struct Parameters {
    len: u32,
    scale: f32,
    root: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> partials: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    if group.x > 0u {
        return;
    }
    var sum = 0.0;
    for (var i = thread; i < parameters.len; i += 256u) {
        sum += partials[i];
    }
    let all = sum_over_group(sum, thread);
    if thread == 0u {
        let scaled = parameters.scale * all;
        out[0] = select(scaled, sqrt(scaled), parameters.root != 0u);
    }
}
