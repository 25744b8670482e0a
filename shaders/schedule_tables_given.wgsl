// The tables of given betas, by one thread: T is small and every step needs the one before.
struct Parameters {
    timesteps: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read_write> tables: array<f32>; // [table 6][t]
@group(0) @binding(2) var<storage, read> given: array<f32>; // [beta, 1 - beta][t]

@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) group: vec3<u32>) {
    if group.x > 0u {
        return;
    }
    var shares = Shares(vec2<f32>(1.0, 0.0), vec2<f32>(0.0, 0.0));
    for (var t = 0u; t < parameters.timesteps; t++) {
        let beta = given[t];
        let alpha = given[parameters.timesteps + t];
        let before = shares;
        shares = next_shares(before, beta, alpha);
        write_tables(t, parameters.timesteps, beta, alpha, before, shares);
    }
}
