// The step that each picture of a batch is distilled at, drawn here: its row of eight numbers, as src/kernels/levels.rs
// names them, and what the networks are told before and after the teacher's step.
struct Parameters {
    pictures: u32,
    steps: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> table: array<f32>; // [step][number 15]
@group(0) @binding(2) var<storage, read_write> levels: array<f32>; // [picture][column 8]
@group(0) @binding(3) var<storage, read_write> told: array<f32>; // [picture]
@group(0) @binding(4) var<storage, read_write> told_after: array<f32>; // [picture]

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
    let drawn = timestep_bits(step.first_picture + picture, 0u) % parameters.steps;
    let numbers = 15u * drawn;
    let row = 8u * picture;
    levels[row] = table[numbers];
    levels[row + 1u] = table[numbers + 1u];
    // What there is to predict, the teacher says.
    levels[row + 2u] = 0.0;
    levels[row + 3u] = 0.0;
    levels[row + 4u] = table[numbers + 2u];
    levels[row + 5u] = table[numbers + 3u];
    levels[row + 6u] = f32(drawn);
    levels[row + 7u] = 1.0;
    told[picture] = table[numbers + 3u];
    told_after[picture] = table[numbers + 4u];
}
