// y[n] = [sin(2 pi f log t[n]), cos(2 pi f log t[n])] over the frequencies f; a timestep of 0 counts as 1.
struct Parameters {
    timesteps: u32,
    frequencies: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> timesteps: array<f32>;
@group(0) @binding(2) var<storage, read> frequencies: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let width = 2u * parameters.frequencies;
    let len = parameters.timesteps * width;
    let first = group_number(group, groups) * 1024u + thread;
    for (var i = first; i < min(first + 1024u, len); i += 256u) {
        let column = i % width;
        let timestep = timesteps[i / width];
        let turns = natural_log(select(timestep, 1.0, timestep == 0.0)) * frequencies[column % parameters.frequencies];
        // From -1/2 to 1/2 of a turn, in 2^-32 turns.
        let rest = turns - round(turns);
        let sin_cos = sin_cos_of_turn(bitcast<u32>(i32(rest * 0x1p31)) << 1u);
        y[i] = select(sin_cos.y, sin_cos.x, column < parameters.frequencies);
    }
}
