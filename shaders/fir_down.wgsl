// Half the height and width by the filter 1 3 3 1: along each side y[i] = x[2i - 1] + 3 x[2i] + 3 x[2i + 1] + x[2i + 2],
// zero outside; then times scale. y [pictures, height, width, channels].
struct Parameters {
    pictures: u32,
    height: u32,
    width: u32,
    channels: u32,
    scale: f32,
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
    let size = vec2<u32>(parameters.height, parameters.width);
    let channels = parameters.channels;
    let len = parameters.pictures * size.x * size.y * channels;
    let first = group_number(group, groups) * 1024u + thread;
    for (var i = first; i < min(first + 1024u, len); i += 256u) {
        let pixel = i / channels;
        let corner = 2u * vec2<u32>(pixel / size.y % size.x, pixel % size.y) - 1u; // wraps before the first
        let base = pixel / (size.x * size.y) * 4u * size.x * size.y;
        var sum = 0.0;
        for (var tap = 0u; tap < 16u; tap++) {
            let offset = vec2<u32>(tap / 4u, tap % 4u);
            let at = corner + offset;
            if all(at < 2u * size) {
                let is_inner = (offset == vec2<u32>(1u)) | (offset == vec2<u32>(2u));
                let weights = select(vec2<f32>(1.0), vec2<f32>(3.0), is_inner);
                sum += weights.x * weights.y * f32(x[(base + at.x * 2u * size.y + at.y) * channels + i % channels]);
            }
        }
        y[i] = real2(parameters.scale * sum);
    }
}
