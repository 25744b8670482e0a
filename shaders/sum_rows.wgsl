// y[s, p, c] = the sum of x[s, row, c] over the rows of part p of segment s, or the same added to what is there.
// A workgroup has 256 / lanes columns of one part: each thread sums every lanes-th row of its column, then the lanes
// of a column are summed in a fixed order.
override lanes: u32 = 16u;

struct Parameters {
    segments: u32,
    rows: u32,
    splits: u32,
    columns: u32,
    rows_per_split: u32,
    accumulate: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<real1>;
@group(0) @binding(2) var<storage, read_write> y: array<real2>;

var<workgroup> sums: array<f32, 256>; // [lane][column]

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let width = 256u / lanes;
    let blocks = (parameters.columns + width - 1u) / width;
    let number = group_number(group, groups);
    let part = number / blocks; // row of y
    let column = (number % blocks) * width + thread % width;
    let lane = thread / width;
    let inside = part < parameters.segments * parameters.splits && column < parameters.columns;

    var sum = 0.0;
    if inside {
        let split = part % parameters.splits;
        let segment = part / parameters.splits * parameters.rows;
        let last = segment + min((split + 1u) * parameters.rows_per_split, parameters.rows);
        for (var row = segment + split * parameters.rows_per_split + lane; row < last; row += lanes) {
            sum += f32(x[row * parameters.columns + column]);
        }
    }
    sums[thread] = sum;
    for (var half = lanes / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            sums[thread] += sums[thread + half * width];
        }
    }
    if inside && lane == 0u {
        let i = part * parameters.columns + column;
        if parameters.accumulate != 0u {
            y[i] = real2(f32(y[i]) + sums[thread]);
        } else {
            y[i] = real2(sums[thread]);
        }
    }
}
