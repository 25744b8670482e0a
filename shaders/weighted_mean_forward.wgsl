// The mean of the pictures' losses, each multiplied by factors of its level, with others added. One workgroup.
struct Parameters {
    pictures: u32,
    with_weight: u32,
    with_correction: u32,
    scale: f32,
    other: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> losses: array<real1>;
@group(0) @binding(2) var<storage, read> others: array<real2>;
@group(0) @binding(3) var<storage, read> levels: array<real3>; // [picture][column 8], if a factor is taken
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    if group.x > 0u {
        return;
    }
    var sum = 0.0;
    for (var picture = thread; picture < parameters.pictures; picture += 256u) {
        var loss = parameters.scale * f32(losses[picture]);
        if parameters.with_weight != 0u {
            loss *= f32(levels[8u * picture + 4u]);
        }
        if parameters.other != 0.0 {
            loss += parameters.other * f32(others[picture]);
        }
        if parameters.with_correction != 0u {
            loss *= f32(levels[8u * picture + 7u]);
        }
        sum += loss;
    }
    let all = sum_over_group(sum, thread);
    if thread == 0u {
        out[0] = all / f32(parameters.pictures);
    }
}
