// Twice the height and width by the filter 1 3 3 1: along each side y[2i] = x[i - 1] + 3 x[i] and y[2i + 1] =
// 3 x[i] + x[i + 1], zero outside; then times scale. x [pictures, height, width, channels].
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
    let len = parameters.pictures * 4u * size.x * size.y * channels;
    let first = group_number(group, groups) * 1024u + thread;
    for (var i = first; i < min(first + 1024u, len); i += 256u) {
        let pixel = i / channels;
        let place = vec2<u32>(pixel / (2u * size.y) % (2u * size.x), pixel % (2u * size.y));
        let near = place / 2u;
        let far = near + 2u * (place % 2u) - 1u; // wraps to a large number before the first
        let base = pixel / (4u * size.x * size.y) * size.x * size.y;
        var sum = 0.0;
        for (var tap = 0u; tap < 4u; tap++) {
            let is_far = vec2<bool>((tap & 2u) != 0u, (tap & 1u) != 0u);
            let at = select(near, far, is_far);
            if all(at < size) {
                let weights = select(vec2<f32>(3.0), vec2<f32>(1.0), is_far);
                sum += weights.x * weights.y * f32(x[(base + at.x * size.y + at.y) * channels + i % channels]);
            }
        }
        y[i] = real2(parameters.scale * sum);
    }
}
