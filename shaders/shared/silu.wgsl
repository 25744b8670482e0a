// SiLU and its derivative.
fn silu_of(x: f32) -> f32 {
    return x / (1.0 + exp(-x));
}

// s (1 + x (1 - s)) with s = sigmoid(x).
fn silu_slope(x: f32) -> f32 {
    let s = 1.0 / (1.0 + exp(-x));
    return s * (1.0 + x * (1.0 - s));
}
