// Activation functions other than SiLU and their derivatives, by number: src/kernels/activation.rs.
const MISH: u32 = 1u;
const GELU: u32 = 2u;

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
