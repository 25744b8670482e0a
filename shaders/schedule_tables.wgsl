// The tables of a noise schedule, by one thread: T is small and every step needs the one before.
struct Parameters {
    schedule: u32, // 0 linear, 1 scaled linear, 2 squared cosine
    timesteps: u32,
    beta_start: f32,
    beta_end: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read_write> tables: array<f32>; // [table 6][t]

const QUARTER_TURN: f32 = 0.25 / 1.008; // pi/2 / (1 + s), in turns
const OFFSET: f32 = 0.008;

// sin of a small part of a turn, to full relative precision.
fn sin_of(turn: f32) -> f32 {
    if turn < 0.125 {
        let x = turn * 6.2831853;
        let z = x * x;
        return x + x * z * (-0.16666654611 + z * (8.3321608736e-3 - z * 1.9515295891e-4));
    }
    return sin_cos_of_turn(u32(turn * 4294967296.0)).x;
}

fn line(start: f32, end: f32, t: u32) -> f32 {
    return start + (end - start) * f32(t) / f32(max(parameters.timesteps - 1u, 1u));
}

// beta_t and 1 - beta_t, neither by a difference that cancels: src/kernels/schedule_tables.rs derives the cosine's.
fn beta_and_alpha(t: u32) -> vec2<f32> {
    let steps = f32(parameters.timesteps);
    if parameters.schedule == 2u {
        let left = parameters.timesteps - t;
        let cos_a = sin_of(QUARTER_TURN * f32(left) / steps);
        let cos_b = sin_of(QUARTER_TURN * f32(left - 1u) / steps);
        var sum = QUARTER_TURN * f32(2u * left - 1u) / steps;
        if 2u * t < parameters.timesteps {
            sum = QUARTER_TURN * (f32(2u * t + 1u) / steps + 2.0 * OFFSET);
        }
        let beta = sin_of(QUARTER_TURN / steps) * sin_of(sum) / (cos_a * cos_a);
        if beta > 0.999 {
            return vec2<f32>(0.999, 0.001);
        }
        return vec2<f32>(beta, (cos_b / cos_a) * (cos_b / cos_a));
    }
    var beta = line(parameters.beta_start, parameters.beta_end, t);
    if parameters.schedule == 1u {
        let root = line(sqrt(parameters.beta_start), sqrt(parameters.beta_end), t);
        beta = root * root;
    }
    return vec2<f32>(beta, 1.0 - beta);
}

// The cosine's alphas_cumprod and 1 - alphas_cumprod in closed form.
fn cosine_products(t: u32) -> vec2<f32> {
    let steps = f32(parameters.timesteps);
    let cos_a = sin_of(QUARTER_TURN);
    let cos_b = sin_of(QUARTER_TURN * f32(parameters.timesteps - t - 1u) / steps);
    let passed = f32(t + 1u) / steps;
    let sum = QUARTER_TURN * (passed + 2.0 * OFFSET);
    let ratio = cos_b / cos_a;
    return vec2<f32>(ratio * ratio, sin_of(QUARTER_TURN * passed) * sin_of(sum) / (cos_a * cos_a));
}

@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) group: vec3<u32>) {
    if group.x > 0u {
        return;
    }
    var cumprod = 1.0;
    var one_minus = 0.0;
    for (var t = 0u; t < parameters.timesteps; t++) {
        let both = beta_and_alpha(t);
        let beta = both.x;
        let alpha = both.y;
        let cumprod_before = cumprod;
        let one_minus_before = one_minus;
        one_minus = beta + alpha * one_minus_before;
        cumprod *= alpha;
        // The last beta of the cosine, and no other, is clipped; at t = 0, 1 - alphas_cumprod is beta to the bit.
        if parameters.schedule == 2u && 0u < t && t + 1u < parameters.timesteps {
            let products = cosine_products(t);
            cumprod = products.x;
            one_minus = products.y;
        }
        tables[t] = beta;
        tables[parameters.timesteps + t] = cumprod;
        tables[2u * parameters.timesteps + t] = one_minus;
        tables[3u * parameters.timesteps + t] = beta * one_minus_before / one_minus;
        tables[4u * parameters.timesteps + t] = beta * sqrt(cumprod_before) / one_minus;
        tables[5u * parameters.timesteps + t] = one_minus_before * sqrt(alpha) / one_minus;
    }
}
