// da = upstream (b / (|a| |b|) - a y / |a|^2), y being the rows' similarity; a workgroup has one row.
struct Parameters {
    rows: u32,
    columns: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> a: array<real1>;
@group(0) @binding(2) var<storage, read> b: array<real2>;
@group(0) @binding(3) var<storage, read> upstream: array<f32>;
@group(0) @binding(4) var<storage, read_write> da: array<real4>;

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
    var sums = vec3<f32>(0.0); // of a a, of b b, of a b
    for (var i = first + thread; i < first + parameters.columns; i += 256u) {
        let pair = vec2<f32>(f32(a[i]), f32(b[i]));
        sums += vec3<f32>(pair * pair, pair.x * pair.y);
    }
    let aa = sum_over_group(sums.x, thread);
    let bb = sum_over_group(sums.y, thread);
    let ab = sum_over_group(sums.z, thread);
    let norms = max(sqrt(aa) * sqrt(bb), 1e-8);
    let back = ab / norms / max(aa, 1e-8);
    for (var i = first + thread; i < first + parameters.columns; i += 256u) {
        da[i] = real4(upstream[row] * (f32(b[i]) / norms - back * f32(a[i])));
    }
}
