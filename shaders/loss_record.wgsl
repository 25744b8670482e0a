// Timestep and loss of each picture, at its place in the whole batch.
struct Parameters {
    pictures: u32,
    whole: u32,
    weighted: u32,
    other: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> losses: array<f32>;
@group(0) @binding(2) var<storage, read> others: array<f32>;
@group(0) @binding(3) var<storage, read> levels: array<f32>; // [picture][column 8]
@group(0) @binding(4) var<storage, read_write> record: array<f32>; // [place][timestep, loss]

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let picture = group_number(group, groups) * 256u + thread;
    let place = step.first_picture + picture;
    if picture >= parameters.pictures || place >= parameters.whole {
        return;
    }
    var loss = losses[picture];
    if parameters.weighted != 0u {
        loss *= levels[8u * picture + 4u];
    }
    if parameters.other != 0.0 {
        loss += parameters.other * others[picture];
    }
    record[2u * place] = levels[8u * picture + 6u];
    record[2u * place + 1u] = loss;
}
