// What a network predicts, as src/kernels/prediction.rs has it: where x_t = signal x_0 + noise eps.
const EPSILON: u32 = 0u;
const SAMPLE: u32 = 1u;
const V_PREDICTION: u32 = 2u;
const SCORE: u32 = 3u;

// x_0 of x_t and of the network's output, then eps of both.
fn x0_and_epsilon(prediction: u32, signal: f32, noise: f32) -> vec4<f32> {
    switch prediction {
        case EPSILON: {
            return vec4<f32>(1.0 / signal, -noise / signal, 0.0, 1.0);
        }
        case SAMPLE: {
            return vec4<f32>(0.0, 1.0, 1.0 / noise, -signal / noise);
        }
        case V_PREDICTION: {
            return vec4<f32>(signal, -noise, noise, signal) / (signal * signal + noise * noise);
        }
        default: {
            return vec4<f32>(1.0 / signal, noise * noise / signal, 0.0, -noise);
        }
    }
}

// The prediction of x_0 and of eps.
fn of_x0_and_epsilon(prediction: u32, signal: f32, noise: f32) -> vec2<f32> {
    switch prediction {
        case EPSILON: {
            return vec2<f32>(0.0, 1.0);
        }
        case SAMPLE: {
            return vec2<f32>(1.0, 0.0);
        }
        case V_PREDICTION: {
            return vec2<f32>(-noise, signal);
        }
        default: {
            return vec2<f32>(0.0, -1.0 / noise);
        }
    }
}
