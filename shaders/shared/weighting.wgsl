// How much the squared error in a prediction counts: src/kernels/weighting.rs. Comes after shared/prediction.wgsl.
fn weight_of(
    weighting: u32, // 0 none, 1 SNR, 2 min-SNR, 3 P2, 4 KL
    gamma: f32,
    k: f32,
    prediction: u32,
    signal: f32, // s^2
    noise: f32, // n^2
    kl_of_x0: f32,
) -> f32 {
    let square = (signal + noise) * (signal + noise);
    var of_epsilon = 1.0;
    switch weighting {
        case 0u: {
            return 1.0;
        }
        case 4u: {
            switch prediction {
                case EPSILON: {
                    return kl_of_x0 * (noise / signal);
                }
                case SAMPLE: {
                    return kl_of_x0;
                }
                case V_PREDICTION: {
                    return kl_of_x0 * (noise / square);
                }
                default: {
                    return kl_of_x0 * (noise * noise / signal);
                }
            }
        }
        case 2u: {
            let most = gamma * noise;
            if signal > most {
                of_epsilon = most / signal;
            }
        }
        case 3u: {
            of_epsilon = pow(k + signal / noise, -gamma);
        }
        default: {}
    }
    switch prediction {
        case EPSILON: {
            return of_epsilon;
        }
        case SAMPLE: {
            return of_epsilon * (signal / noise);
        }
        case V_PREDICTION: {
            return of_epsilon * (signal / square);
        }
        default: {
            return of_epsilon * noise;
        }
    }
}
