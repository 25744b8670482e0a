// y[row, y_first + k] = x[row, x_first + k] for k in 0..count. Channels first..first + width of y are written: with 0
// where they are outside those that are copied.
struct Parameters {
    rows: u32,
    x_stride: u32,
    x_first: u32,
    y_stride: u32,
    y_first: u32,
    count: u32,
    first: u32,
    width: u32,
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
    let len = parameters.rows * parameters.width;
    let first = group_number(group, groups) * 1024u + thread;
    for (var i = first; i < min(first + 1024u, len); i += 256u) {
        let row = i / parameters.width;
        let channel = parameters.first + i % parameters.width;
        let k = channel - parameters.y_first; // wraps to a large number before y_first
        var value = 0.0;
        if k < parameters.count {
            value = f32(x[row * parameters.x_stride + parameters.x_first + k]);
        }
        y[row * parameters.y_stride + channel] = real2(value);
    }
}
