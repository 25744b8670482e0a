// The mean of the pictures' losses, each multiplied by factors of its level. One workgroup.
struct Parameters {
    pictures: u32,
    with_weight: u32,
    with_correction: u32,
    scale: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> losses: array<f32>;
@group(0) @binding(2) var<storage, read> levels: array<f32>; // [picture][column 8], if a factor is taken
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    if group.x > 0u {
        return;
    }
    var sum = 0.0;
    for (var picture = thread; picture < parameters.pictures; picture += 256u) {
        var loss = losses[picture];
        if parameters.with_weight != 0u {
            loss *= levels[8u * picture + 4u];
        }
        if parameters.with_correction != 0u {
            loss *= levels[8u * picture + 7u];
        }
        sum += loss;
    }
    let all = sum_over_group(sum, thread);
    if thread == 0u {
        out[0] = parameters.scale * (all / f32(parameters.pictures));
    }
}
