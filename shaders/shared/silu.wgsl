// SiLU and its derivative, of one number or four (ones.wgsl, fours.wgsl). The bound keeps exp finite: not every compiler keeps to what infinity does.
fn sigmoid_of(x: number) -> number {
    return 1.0 / (1.0 + exp(min(-x, number(80.0))));
}

fn silu_of(x: number) -> number {
    return x * sigmoid_of(x);
}

// s (1 + x (1 - s)) with s = sigmoid(x).
fn silu_slope(x: number) -> number {
    let s = sigmoid_of(x);
    return s * (1.0 + x * (1.0 - s));
}
