// What each picture of a training batch is made of, and how its error counts: a row of eight numbers, with the timestep
// drawn here. src/kernels/levels.rs names the columns.
struct Parameters {
    pictures: u32,
    timesteps: u32,
    by_shares: u32, // 0: every timestep is drawn alike
    stride: u32,
    prediction: u32,
    large: u32, // the reverse process's variance is beta_t
    weighting: u32,
    gamma: f32,
    k: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> tables: array<f32>; // [table 6][t]
@group(0) @binding(2) var<storage, read> last_bits: array<u32>; // [t]: the last bits that draw it
@group(0) @binding(3) var<storage, read> corrections: array<f32>; // [t]
@group(0) @binding(4) var<storage, read_write> levels: array<f32>; // [picture][column 8]
@group(0) @binding(5) var<storage, read_write> told: array<f32>; // [picture]

fn drawn_timestep(bits: u32) -> u32 {
    if parameters.by_shares == 0u {
        return bits % parameters.timesteps;
    }
    var low = 0u;
    var high = parameters.timesteps - 1u;
    while low < high {
        let middle = (low + high) / 2u;
        if bits <= last_bits[middle] {
            high = middle;
        } else {
            low = middle + 1u;
        }
    }
    return low;
}

fn at(table: u32, t: u32) -> f32 {
    return tables[table * parameters.timesteps + t];
}

// What L_{t-1} gives the squared error in x_0; the first one's variance is the second's, as beta~ is 0 there.
fn kl_of_x0(t: u32) -> f32 {
    var variance = at(0u, t);
    if t == 0u && parameters.timesteps > 1u {
        variance = at(3u, 1u);
    } else if t > 0u && parameters.large == 0u {
        variance = at(3u, t);
    }
    let mean = at(4u, t);
    return 0.5 * mean * mean / variance;
}

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
    let t = drawn_timestep(timestep_bits(step.first_picture + picture, parameters.stride));
    let power = at(1u, t);
    let noise_power = at(2u, t);
    let signal = sqrt(power);
    let noise = sqrt(noise_power);
    let goal = of_x0_and_epsilon(parameters.prediction, signal, noise);
    let row = 8u * picture;
    levels[row] = signal;
    levels[row + 1u] = noise;
    levels[row + 2u] = goal.x;
    levels[row + 3u] = goal.y;
    levels[row + 4u] = weight_of(
        parameters.weighting,
        parameters.gamma,
        parameters.k,
        parameters.prediction,
        power,
        noise_power,
        kl_of_x0(t),
    );
    levels[row + 5u] = f32(t);
    levels[row + 6u] = f32(t);
    var correction = 1.0;
    if parameters.by_shares != 0u {
        correction = corrections[t];
    }
    levels[row + 7u] = correction;
    told[picture] = f32(t);
}
