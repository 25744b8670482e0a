// dx = upstream (softmax of the row - 1 at its label), for x [rows, columns]; a workgroup has one row.
struct Parameters {
    rows: u32,
    columns: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<real1>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read> upstream: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<real4>;

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
    for (var i = first + thread; i < last; i += 256u) {
        var difference = exp(f32(x[i]) - largest) / sum;
        if i == first + labels[row] {
            difference -= 1.0;
        }
        dx[i] = real4(upstream[row] * difference);
    }
}
