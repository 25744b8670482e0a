// As levels.wgsl for a process in continuous time: the time, or the noise itself, is drawn, and a picture's row of eight
// numbers follows in closed form. src/kernels/continuous_levels.rs names what is what.
struct Parameters {
    pictures: u32,
    process: u32, // 0 VP, 1 sub-VP, 2 VE, 3 EDM
    stride: u32,
    log_normal: u32,
    a: f32, // least beta; logarithm of the least sigma; for EDM the root of it
    b: f32, // the same of the largest, less a
    first: f32,
    data: f32,
    rho: f32,
    mean: f32,
    deviation: f32,
    prediction: u32,
    turned: u32, // the prediction has its sign turned
    weighting: u32,
    gamma: f32,
    k: f32,
    times: u32, // how many there are at equal distances from 0 to 1; 0 for all from the first on
    draws: u32, // how many of the 2^32 fall to each
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read_write> levels: array<f32>; // [picture][column 8]
@group(0) @binding(2) var<storage, read_write> told: array<f32>; // [picture]

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
    let place = step.first_picture + picture;
    let bits = timestep_bits(place, parameters.stride);
    var index = 0u;
    var t = parameters.first + (1.0 - parameters.first) * uniform_of(bits);
    if parameters.times != 0u {
        index = bits / parameters.draws;
        t = f32(index) / f32(parameters.times - 1u);
    }
    var signal = 1.0;
    var noise = 0.0;
    var tell = 999.0 * t;
    var data = 1.0;
    if parameters.process < 2u {
        let minus_log = t * (parameters.a + 0.5 * t * parameters.b);
        signal = exp_of(-0.5 * minus_log);
        noise = -exp_less_one_of(-minus_log);
        if parameters.process == 0u {
            noise = sqrt(noise);
        }
    } else {
        var log_sigma = parameters.a + t * parameters.b;
        if parameters.log_normal != 0u {
            let key = picture_key(vec2<u32>(step.seed_low, step.seed_high), TRAINING_TIMESTEP, place);
            log_sigma = parameters.mean + parameters.deviation * normal_pair(key, step.step, 0u).x;
        } else if parameters.process == 3u {
            log_sigma = parameters.rho * natural_log(log_sigma);
        }
        let sigma = exp_of(log_sigma);
        noise = sigma;
        tell = sigma;
        if parameters.process == 3u {
            let scale = 1.0 / sqrt(sigma * sigma + parameters.data * parameters.data);
            data = parameters.data;
            signal = scale * data;
            noise = scale * sigma;
            tell = 0.25 * log_sigma;
        }
    }
    var goal = of_x0_and_epsilon(parameters.prediction, signal, noise);
    if parameters.turned != 0u {
        goal = -goal;
    }
    let row = 8u * picture;
    levels[row] = signal / data;
    levels[row + 1u] = noise;
    levels[row + 2u] = goal.x / data;
    levels[row + 3u] = goal.y;
    levels[row + 4u] = weight_of(
        parameters.weighting,
        parameters.gamma,
        parameters.k,
        parameters.prediction,
        signal * signal,
        noise * noise,
        0.0,
    );
    levels[row + 5u] = tell;
    levels[row + 6u] = f32(index);
    levels[row + 7u] = 1.0;
    told[picture] = tell;
}
