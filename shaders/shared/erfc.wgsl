// e^(x^2) erfc(x) where x is not negative, to 2e-7 of itself (Press et al., Numerical Recipes, 2nd ed., section 6.2).
fn erfcx_of(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.5 * x);
    return t * exp(erfc_polynomial(t));
}

fn erfc_polynomial(t: f32) -> f32 {
    var p = 0.17087277;
    p = p * t - 0.82215223;
    p = p * t + 1.48851587;
    p = p * t - 1.13520398;
    p = p * t + 0.27886807;
    p = p * t - 0.18628806;
    p = p * t + 0.09678418;
    p = p * t + 0.37409196;
    p = p * t + 1.00002368;
    return p * t - 1.26551223;
}

// The complementary error function, as precisely.
fn erfc_of(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.5 * abs(x));
    let tail = t * exp(max(erfc_polynomial(t) - x * x, -80.0));
    return select(2.0 - tail, tail, x >= 0.0);
}
