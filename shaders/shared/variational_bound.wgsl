// A term of the variational bound for one element: src/kernels/variational_bound/transition.rs.
struct Parameters {
    pictures: u32,
    elements: u32, // of each picture
    channels: u32,
    output_channels: u32,
    timesteps: u32,
    columns: u32, // of the indices
    column: u32,
    prediction: u32,
    variance: u32,
    decoder: u32,
    clip: f32,
    stop_mean: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> tables: array<f32>; // [table 6][t]
@group(0) @binding(2) var<storage, read> indices: array<f32>;
@group(0) @binding(3) var<storage, read> output: array<real3>;
@group(0) @binding(4) var<storage, read> x0: array<f32>;
@group(0) @binding(5) var<storage, read> x_t: array<f32>;

const LARGE: u32 = 1u;
const LEARNED: u32 = 2u;
const LEARNED_RANGE: u32 = 3u;
const LEAST_SHARE: f32 = 0.1;
const NATS: f32 = 1.4426950; // in bits

// Of the prediction, and of what is said of the variance.
struct OutputTerm {
    value: f32,
    of_prediction: f32,
    of_variance: f32,
}

// Where an element's prediction is in the output.
fn place_of(i: u32) -> u32 {
    return i / parameters.channels * parameters.output_channels + i % parameters.channels;
}

fn table_at(table: u32, t: u32) -> f32 {
    return tables[table * parameters.timesteps + t];
}

fn term_of_element(i: u32) -> OutputTerm {
    let picture = i / parameters.elements;
    let last = parameters.timesteps - 1u;
    let t = min(u32(indices[picture * parameters.columns + parameters.column]), last);
    let signal = sqrt(table_at(1u, t));
    let noise = sqrt(table_at(2u, t));
    let beta = table_at(0u, t);
    // The first timestep's posterior has no variance: the second's.
    var posterior = table_at(3u, min(max(t, 1u), last));
    if last == 0u {
        posterior = beta;
    }
    let log_posterior = log(posterior);
    let at = place_of(i);

    let weights = x0_and_epsilon(parameters.prediction, signal, noise);
    var predicted = weights.x * x_t[i] + weights.y * f32(output[at]);
    var slope = weights.y;
    // Comparisons leave NaN as it is; clamp would hide it.
    if predicted > parameters.clip {
        predicted = parameters.clip;
        slope = 0.0;
    } else if predicted < -parameters.clip {
        predicted = -parameters.clip;
        slope = 0.0;
    }
    if parameters.stop_mean != 0u {
        slope = 0.0;
    }

    var log_variance = log_posterior;
    var of_said = 0.0;
    if parameters.variance == LARGE && t > 0u {
        log_variance = log(beta);
    } else if parameters.variance == LEARNED {
        var variance = f32(output[at + parameters.channels]);
        if variance < LEAST_SHARE * posterior {
            variance = LEAST_SHARE * posterior;
        }
        log_variance = log(variance);
        of_said = 1.0 / variance;
    } else if parameters.variance == LEARNED_RANGE {
        of_said = 0.5 * (log(beta) - log_posterior);
        log_variance = log_posterior + of_said * (f32(output[at + parameters.channels]) + 1.0);
    }

    var term = Term();
    if t == 0u {
        term = decoder_term(parameters.decoder, x0[i], predicted, log_variance);
    } else {
        let of_x0 = table_at(4u, t);
        term = gaussian_kl(of_x0 * (predicted - x0[i]), log_posterior, log_variance);
        slope *= of_x0;
    }
    // What is stopped is 0, whatever it would have been.
    let of_prediction = select(term.of_mean * slope, 0.0, slope == 0.0);
    return OutputTerm(term.value, of_prediction, term.of_log_variance * of_said);
}
