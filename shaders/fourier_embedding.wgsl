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
        let level = natural_log(select(timestep, 1.0, timestep == 0.0));
        let angle = level * frequencies[column % parameters.frequencies] * 6.2831855;
        // The angle less its whole turns: 2 pi in three parts, of which the first two have few bits (Cody & Waite 1980).
        let whole = round(angle * 0.15915494);
        let rest = ((angle - whole * 6.28125) - whole * 0.001934051513671875) - whole * 1.2556659146e-6;
        // In 2^-31 turns, from -1/2 to 1/2 of one.
        let phase = i32(clamp(rest * 0.15915494, -0.5, 0.5) * 0x1p31);
        let sin_cos = sin_cos_of_turn(bitcast<u32>(phase) << 1u);
        y[i] = select(sin_cos.y, sin_cos.x, column < parameters.frequencies);
    }
}
