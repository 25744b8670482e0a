// losses[n] = log of the sum of e^x over a row of x [rows, columns], less x at the row's label; a workgroup has one row.
struct Parameters {
    rows: u32,
    columns: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<real1>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> losses: array<f32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = group_number(group, groups);
    if row >= parameters.rows {
        return;
    }
    let first = row * parameters.columns;
    let last = first + parameters.columns;
    var largest = -3.4028234e38;
    for (var i = first + thread; i < last; i += 256u) {
        largest = max(largest, f32(x[i]));
    }
    largest = max_over_group(largest, thread);
    var sum = 0.0;
    for (var i = first + thread; i < last; i += 256u) {
        sum += exp(f32(x[i]) - largest);
    }
    sum = sum_over_group(sum, thread);
    if thread == 0u {
        losses[row] = log(sum) + (largest - f32(x[first + labels[row]]));
    }
}
