// dx = y (dy - sum of dy y), over each row of [rows, columns]; a workgroup has one row.
struct Parameters {
    rows: u32,
    columns: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> y: array<real1>;
@group(0) @binding(2) var<storage, read> dy: array<real2>;
@group(0) @binding(3) var<storage, read_write> dx: array<real3>;

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

    var sum = 0.0;
    for (var i = first; i < last; i += 256u) {
        sum += f32(dy[i]) * f32(y[i]);
    }
    sum = sum_over_group(sum, thread);

    for (var i = first; i < last; i += 256u) {
        dx[i] = real3(f32(y[i]) * (f32(dy[i]) - sum));
    }
}
