// The gradient of a weighted mean by the pictures' losses.
struct Parameters {
    pictures: u32,
    with_weight: u32,
    with_correction: u32,
    scale: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> upstream: array<f32>;
@group(0) @binding(2) var<storage, read> levels: array<f32>; // [picture][column 8], if a factor is taken
@group(0) @binding(3) var<storage, read_write> gradient: array<real3>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let picture = group_number(group, groups) * 256u + thread;
    if picture >= parameters.pictures {
        return;
    }
    var factor = upstream[0] * (parameters.scale / f32(parameters.pictures));
    if parameters.with_weight != 0u {
        factor *= levels[8u * picture + 4u];
    }
    if parameters.with_correction != 0u {
        factor *= levels[8u * picture + 7u];
    }
    gradient[picture] = real3(factor);
}
