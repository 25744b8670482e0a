// Activation functions other than SiLU and their derivatives, by number: src/kernels/activation.rs.
const MISH: u32 = 1u;
const GELU: u32 = 2u;

// The complementary error function to 2e-7 of itself (Press et al., Numerical Recipes, 2nd ed., section 6.2).
fn erfc_of(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.5 * abs(x));
    var p = 0.17087277;
    p = p * t - 0.82215223;
    p = p * t + 1.48851587;
    p = p * t - 1.13520398;
    p = p * t + 0.27886807;
    p = p * t - 0.18628806;
    p = p * t + 0.09678418;
    p = p * t + 0.37409196;
    p = p * t + 1.00002368;
    let tail = t * exp(max(p * t - x * x - 1.26551223, -80.0));
    return select(2.0 - tail, tail, x >= 0.0);
}

fn activation_of(number: u32, x: f32) -> f32 {
    switch number {
        case MISH: { // x tanh(log(1 + e^x)); beyond 20 the tanh is 1
            let e = exp(clamp(x, -80.0, 20.0));
            let n = e * (e + 2.0);
            return x * (n / (n + 2.0));
        }
        case GELU: {
            return 0.5 * x * erfc_of(-0.70710678 * x);
        }
        default: {
            return select(x, 0.0, x < 0.0);
        }
    }
}

fn activation_slope(number: u32, x: f32) -> f32 {
    switch number {
        case MISH: {
            let e = exp(clamp(x, -80.0, 20.0));
            let n = e * (e + 2.0);
            let d = n + 2.0;
            return n / d + x * (4.0 * e / d * ((e + 1.0) / d));
        }
        case GELU: { // Phi(x) + x phi(x)
            return 0.5 * erfc_of(-0.70710678 * x) + x * 0.39894228 * exp(max(-0.5 * x * x, -80.0));
        }
        default: {
            return select(0.0, 1.0, x > 0.0);
        }
    }
}
