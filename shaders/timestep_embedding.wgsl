// y[n] = [sin(t[n] f), cos(t[n] f)] over `half` frequencies f, or the cosines first; a last column of 0 if dim is odd.
// A frequency is in 2^-32 turns a timestep: for a whole t, t f in wrapping integers is the angle less its whole turns.
struct Parameters {
    timesteps: u32,
    dim: u32,
    half: u32,
    cosine_first: u32,
    frequencies: array<vec4<u32>, 256>,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> timesteps: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let half = parameters.half;
    let len = parameters.timesteps * parameters.dim;
    let first = group_number(group, groups) * 1024u + thread;
    for (var i = first; i < min(first + 1024u, len); i += 256u) {
        let column = i % parameters.dim;
        var value = 0.0;
        if column < 2u * half {
            let k = column % half;
            let frequency = parameters.frequencies[k / 4u][k % 4u];
            let timestep = timesteps[i / parameters.dim];
            let whole = floor(timestep);
            let turns = u32(i32(whole)) * frequency + u32((timestep - whole) * f32(frequency));
            let sin_cos = sin_cos_of_turn(turns);
            let is_cosine = (column < half) == (parameters.cosine_first != 0u);
            value = select(sin_cos.x, sin_cos.y, is_cosine);
        }
        y[i] = value;
    }
}
