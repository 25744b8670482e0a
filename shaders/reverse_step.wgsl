// One step of the reverse process: predict x_0, clip it, take the posterior mean, add noise. A thread makes two
// neighbouring elements, which share one draw.
struct Parameters {
    pictures: u32,
    elements: u32, // of each picture
    timesteps: u32,
    prediction: u32, // 0 epsilon, 1 sample, 2 v
    variance: u32, // 0 fixed small, 1 fixed large
    clip_range: f32,
    noise_given: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> tables: array<f32>; // [table 6][t]
@group(0) @binding(2) var<storage, read> output: array<f32>;
@group(0) @binding(3) var<storage, read> given: array<f32>;
@group(0) @binding(4) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = group_number(group, groups) * 256u + thread;
    let pairs = (parameters.elements + 1u) / 2u;
    let picture = index / pairs;
    if picture >= parameters.pictures {
        return;
    }
    let pair = index % pairs;

    let cumprod = tables[parameters.timesteps + step.timestep];
    let one_minus = tables[2u * parameters.timesteps + step.timestep];
    var cumprod_before = 1.0;
    var one_minus_before = 0.0;
    if step.previous_timestep >= 0 {
        cumprod_before = tables[parameters.timesteps + u32(step.previous_timestep)];
        one_minus_before = tables[2u * parameters.timesteps + u32(step.previous_timestep)];
    }
    // The beta of this step. Of the two forms of the difference, the one between the smaller numbers.
    var beta = tables[step.timestep];
    if step.previous_timestep + 1 != i32(step.timestep) {
        if one_minus < 0.5 {
            beta = (one_minus - one_minus_before) / cumprod_before;
        } else {
            beta = (cumprod_before - cumprod) / cumprod_before;
        }
    }
    var variance = beta;
    if parameters.variance == 0u {
        variance = beta * one_minus_before / one_minus;
    }
    let signal = sqrt(cumprod);
    let deviation = sqrt(one_minus);
    let of_x0 = beta * sqrt(cumprod_before) / one_minus;
    let of_xt = one_minus_before * sqrt(cumprod / cumprod_before) / one_minus;

    var noise = vec2<f32>(0.0);
    let first = picture * parameters.elements + 2u * pair;
    if step.add_noise != 0u && parameters.noise_given == 0u {
        let seed = vec2<u32>(step.seed_low, step.seed_high);
        let key = picture_key(seed, REVERSE_NOISE, step.first_picture + picture);
        noise = normal_pair(key, step.timestep, pair);
    }
    for (var i = 0u; i < min(2u, parameters.elements - 2u * pair); i++) {
        let before = x[first + i];
        var x0 = output[first + i];
        if parameters.prediction == 0u {
            x0 = (before - deviation * x0) / signal;
        } else if parameters.prediction == 2u {
            x0 = signal * before - deviation * x0;
        }
        // Comparisons leave NaN as it is; clamp would hide it.
        if x0 > parameters.clip_range {
            x0 = parameters.clip_range;
        } else if x0 < -parameters.clip_range {
            x0 = -parameters.clip_range;
        }
        var after = of_x0 * x0 + of_xt * before;
        if step.add_noise != 0u {
            var z = noise[i];
            if parameters.noise_given != 0u {
                z = given[first + i];
            }
            after += sqrt(variance) * z;
        }
        x[first + i] = after;
    }
}
