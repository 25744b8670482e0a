// y = e^(x - max) / sum of e^(x - max), over each row of x [rows, columns]; a workgroup has one row.
struct Parameters {
    rows: u32,
    columns: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<real1>;
@group(0) @binding(2) var<storage, read_write> y: array<real2>;

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
    let first = row * parameters.columns + thread;
    let last = (row + 1u) * parameters.columns;

    var largest = -3.4028234e38;
    for (var i = first; i < last; i += 256u) {
        largest = max(largest, f32(x[i]));
    }
    largest = max_over_group(largest, thread);

    var sum = 0.0;
    for (var i = first; i < last; i += 256u) {
        let e = exp(f32(x[i]) - largest);
        sum += e;
        y[i] = real2(e);
    }
    sum = sum_over_group(sum, thread);

    for (var i = first; i < last; i += 256u) {
        y[i] = real2(f32(y[i]) / sum);
    }
}
