// exp(x) and exp(x) - 1, right to some 1e-7 of themselves: WGSL lets its exp be off by 3 + 2 |x| units in the last place,
// and a difference cancels. x is between -80 and 80.
fn exp_of(x: f32) -> f32 {
    let power = round(x * 1.44269504);
    // ln 2 in two parts, of which the first has so few bits that the product is exact.
    let rest = (x - power * 0.693359375) + power * 2.12194440e-4;
    return bitcast<f32>(u32(i32(power) + 127) << 23u) * (1.0 + exp_less_one_series(rest));
}

// exp(x) - 1 for x from -0.4 to 0.4, by its series.
fn exp_less_one_series(x: f32) -> f32 {
    var sum = 1.0 + x * 0.125;
    sum = 1.0 + x * 0.14285714 * sum;
    sum = 1.0 + x * 0.16666667 * sum;
    sum = 1.0 + x * 0.2 * sum;
    sum = 1.0 + x * 0.25 * sum;
    sum = 1.0 + x * 0.33333333 * sum;
    sum = 1.0 + x * 0.5 * sum;
    return x * sum;
}

fn exp_less_one_of(x: f32) -> f32 {
    if abs(x) < 0.4 {
        return exp_less_one_series(x);
    }
    return exp_of(x) - 1.0;
}
