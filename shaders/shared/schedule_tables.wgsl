// What all tables of a noise schedule have in common: `tables` [table 6][t] is the shader's. src/kernels/schedule_tables
// says which table is which.

// Products so far, alphas_cumprod and 1 - alphas_cumprod, each with what rounding has kept out of it.
struct Shares {
    signal: vec2<f32>,
    noise: vec2<f32>,
}

// A sum, at most 1, and what rounding has kept out of it (Kahan 1965). The minimum is what compilers do not see through:
// they would cancel the sum with itself, as if nothing were rounded.
fn add_to(sum: vec2<f32>, term: f32) -> vec2<f32> {
    let all = term + sum.y;
    let next = min(sum.x + all, 1.0);
    return vec2<f32>(next, all - (next - sum.x));
}

// One timestep on, where no product is known in closed form. What the signal loses, the noise gains: no cancellation.
fn next_shares(before: Shares, beta: f32, alpha: f32) -> Shares {
    if beta < 0.5 {
        let moved = beta * before.signal.x;
        return Shares(add_to(before.signal, -moved), add_to(before.noise, moved));
    }
    return Shares(vec2<f32>(before.signal.x * alpha, 0.0), vec2<f32>(beta + alpha * before.noise.x, 0.0));
}

fn write_tables(t: u32, timesteps: u32, beta: f32, alpha: f32, before: Shares, now: Shares) {
    let noise = now.noise.x;
    tables[t] = beta;
    tables[timesteps + t] = now.signal.x;
    tables[2u * timesteps + t] = noise;
    tables[3u * timesteps + t] = beta * before.noise.x / noise;
    tables[4u * timesteps + t] = beta * sqrt(before.signal.x) / noise;
    tables[5u * timesteps + t] = before.noise.x * sqrt(alpha) / noise;
}
