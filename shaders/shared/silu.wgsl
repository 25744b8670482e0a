// SiLU and its derivative. The bound keeps exp finite: not every compiler keeps to what infinity does.
fn sigmoid_of(x: f32) -> f32 {
    return 1.0 / (1.0 + exp(min(-x, 80.0)));
}

fn silu_of(x: f32) -> f32 {
    return x * sigmoid_of(x);
}

// s (1 + x (1 - s)) with s = sigmoid(x).
fn silu_slope(x: f32) -> f32 {
    let s = sigmoid_of(x);
    return s * (1.0 + x * (1.0 - s));
}
