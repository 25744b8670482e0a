// group_norm_statistics.wgsl in one pass, for groups of up to 256 channels. A workgroup handles some neighbouring groups,
// so that what it reads of a pixel is a whole piece of memory. Every thread sums one channel of every lanes-th pixel as
// differences from the first it sees, which does not cancel as the squares themselves would; then means and squares of
// parts are put together (Chan, Golub & LeVeque 1979).
override size: u32; // channels of a group
override norms: u32; // groups of a workgroup
override lanes: u32; // threads that share a channel, a power of two

struct Parameters {
    pictures: u32,
    pixels: u32,
    channels: u32,
    groups: u32,
    epsilon: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<real1>;
@group(0) @binding(2) var<storage, read_write> statistics: array<f32>; // [picture][group][mean, 1 / deviation]

// How many elements, their mean, and the sum of the squared differences from it.
var<workgroup> parts: array<vec3<f32>, 256>; // [lane][channel]

fn together(a: vec3<f32>, b: vec3<f32>) -> vec3<f32> {
    let count = a.x + b.x;
    let share = b.x / max(count, 1.0);
    let difference = b.y - a.y;
    return vec3<f32>(count, a.y + difference * share, a.z + b.z + difference * difference * a.x * share);
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let width = size * norms;
    let number = group_number(group, groups);
    let first_norm = number * norms; // of all pictures
    if first_norm >= parameters.pictures * parameters.groups {
        return;
    }
    let picture = first_norm / parameters.groups;
    let lane = thread / width;
    var part = vec3<f32>(0.0);
    if lane < min(lanes, parameters.pixels) {
        let first_channel = first_norm % parameters.groups * size;
        let first = picture * parameters.pixels * parameters.channels + first_channel + thread % width;
        let origin = f32(x[first + lane * parameters.channels]);
        var sum = 0.0;
        var squares = 0.0;
        for (var pixel = lane; pixel < parameters.pixels; pixel += lanes) {
            let difference = f32(x[first + pixel * parameters.channels]) - origin;
            sum += difference;
            squares += difference * difference;
        }
        let count = f32((parameters.pixels - lane + lanes - 1u) / lanes);
        part = vec3<f32>(count, origin + sum / count, max(squares - sum * sum / count, 0.0));
    }
    parts[thread] = part;
    for (var half = lanes / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            parts[thread] = together(parts[thread], parts[thread + half * width]);
        }
    }
    workgroupBarrier();
    if thread < norms {
        var all = parts[thread * size];
        for (var channel = 1u; channel < size; channel++) {
            all = together(all, parts[thread * size + channel]);
        }
        statistics[2u * (first_norm + thread)] = all.y;
        statistics[2u * (first_norm + thread) + 1u] = 1.0 / sqrt(all.z / all.x + parameters.epsilon);
    }
}
