// delta = the sum over a head's channels of do o, for each query (Dao 2023, arXiv 2307.08691, algorithm 2): what the
// gradient of a softmax takes off.
struct Parameters {
    rows: u32,
    size: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> o: array<real1>; // [row][channel]
@group(0) @binding(2) var<storage, read> grad_o: array<real2>;
@group(0) @binding(3) var<storage, read_write> delta: array<f32>; // [row]

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = group_number(group, groups) * 64u + thread;
    if row >= parameters.rows {
        return;
    }
    var sum = 0.0;
    for (var i = row * parameters.size; i < (row + 1u) * parameters.size; i++) {
        sum += f32(o[i]) * f32(grad_o[i]);
    }
    delta[row] = sum;
}
