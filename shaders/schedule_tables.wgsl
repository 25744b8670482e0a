// The tables of a noise schedule, by one thread: T is small and every step needs the one before.
// src/kernels/schedule_tables/beta_schedule.rs derives the forms, none of which is a difference that cancels.
struct Parameters {
    timesteps: u32,
    schedule: u32, // linear, scaled linear, squared cosine, sigmoid, Laplace, exponential, constant, 1 / (T - t + 1)
    beta_start: f32,
    beta_end: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read_write> tables: array<f32>; // [table 6][t]

const QUARTER_TURN: f32 = 0.25 / 1.008; // pi/2 / (1 + s), in turns
const OFFSET: f32 = 0.008;
const LAPLACE_OFFSET: f32 = 1e-6;

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

fn cosine(a: u32, b: u32) -> vec2<f32> {
    let timesteps = parameters.timesteps;
    let steps = f32(timesteps);
    let cos_a = sin_of(QUARTER_TURN * f32(timesteps - a) / steps);
    let cos_b = sin_of(QUARTER_TURN * f32(timesteps - b) / steps);
    var sum = QUARTER_TURN * f32(2u * timesteps - a - b) / steps;
    if a + b < timesteps {
        sum = QUARTER_TURN * (f32(a + b) / steps + 2.0 * OFFSET);
    }
    let lost = sin_of(QUARTER_TURN * f32(b - a) / steps) * sin_of(sum) / (cos_a * cos_a);
    let ratio = cos_b / cos_a;
    return vec2<f32>(lost, ratio * ratio);
}

fn laplace(a: u32, b: u32) -> vec2<f32> {
    let timesteps = parameters.timesteps;
    let steps = f32(timesteps);
    let w_a = f32(2u * min(a, timesteps - a)) / steps + LAPLACE_OFFSET;
    let w_b = f32(2u * min(b, timesteps - b)) / steps + LAPLACE_OFFSET;
    let root_a = sqrt(w_a);
    let root_b = sqrt(w_b);
    let change = f32(2u * (b - a)) / steps / (root_a + root_b);
    var lost = change;
    var left = 1.0 + root_a;
    if 2u * b > timesteps {
        if 2u * a <= timesteps {
            let to_a = f32(timesteps - 2u * a) / steps - LAPLACE_OFFSET;
            let to_b = f32(2u * b - timesteps) / steps - LAPLACE_OFFSET;
            lost = (to_a + to_b * w_a) / (1.0 + sqrt(w_a * w_b));
            left = root_b * (1.0 + root_a);
        } else {
            lost = change / root_a;
            left = root_b * (1.0 + root_a) / root_a;
        }
    }
    let root = sqrt(left / (1.0 + root_b));
    return vec2<f32>(lost / (1.0 + root_b) / (1.0 + root), root);
}

// What is lost and what is left of the signal's share from a timesteps on to b.
fn share_lost(a: u32, b: u32) -> vec2<f32> {
    let steps = f32(parameters.timesteps);
    switch parameters.schedule {
        case 2u: {
            return cosine(a, b);
        }
        case 4u: {
            return laplace(a, b);
        }
        case 5u: {
            let exponent = -12.0 * f32(b - a) / steps;
            return vec2<f32>(-exp_less_one_of(exponent), exp_of(exponent));
        }
        default: {
            let before = f32(parameters.timesteps - a);
            return vec2<f32>(f32(b - a) / before, f32(parameters.timesteps - b) / before);
        }
    }
}

fn has_closed_products() -> bool {
    let schedule = parameters.schedule;
    return schedule == 2u || schedule == 4u || schedule == 5u || schedule == 7u;
}

fn beta_and_alpha(t: u32) -> vec2<f32> {
    if has_closed_products() {
        let both = share_lost(t, t + 1u);
        if parameters.schedule != 7u && both.x > 0.999 {
            return vec2<f32>(0.999, 0.001);
        }
        return both;
    }
    var beta = parameters.beta_end;
    switch parameters.schedule {
        case 0u: {
            beta = line(parameters.beta_start, parameters.beta_end, t);
        }
        case 1u: {
            let root = line(sqrt(parameters.beta_start), sqrt(parameters.beta_end), t);
            beta = root * root;
        }
        case 3u: {
            let last = f32(max(parameters.timesteps - 1u, 1u));
            let exponent = 6.0 * (last - 2.0 * f32(t)) / last;
            beta = parameters.beta_start + (parameters.beta_end - parameters.beta_start) / (1.0 + exp_of(exponent));
        }
        default: {}
    }
    return vec2<f32>(beta, 1.0 - beta);
}

@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) group: vec3<u32>) {
    if group.x > 0u {
        return;
    }
    let closed = has_closed_products();
    var shares = Shares(vec2<f32>(1.0, 0.0), vec2<f32>(0.0, 0.0));
    for (var t = 0u; t < parameters.timesteps; t++) {
        let both = beta_and_alpha(t);
        let before = shares;
        // The last beta, and no other, may be clipped; at t = 0, 1 - alphas_cumprod is beta to the bit.
        if closed && 0u < t && t + 1u < parameters.timesteps {
            let products = share_lost(0u, t + 1u);
            shares = Shares(vec2<f32>(products.y, 0.0), vec2<f32>(products.x, 0.0));
        } else {
            shares = next_shares(before, both.x, both.y);
        }
        write_tables(t, parameters.timesteps, both.x, both.y, before, shares);
    }
}
