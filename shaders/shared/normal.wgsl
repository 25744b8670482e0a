// Normal numbers by Box & Muller 1958 from Threefry's bits. WGSL's log, sin and cos may be off by 2^-11 or so; these are
// polynomials of our own, so that all devices agree.

// log(x) of a normal positive number; after Cephes' logf.
fn natural_log(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    var exponent = f32(bits >> 23u) - 126.0;
    var f = bitcast<f32>((bits & 0x007FFFFFu) | 0x3F000000u); // [0.5, 1)
    if f < 0.70710678 {
        f += f;
        exponent -= 1.0;
    }
    f -= 1.0;
    var p = 7.0376836292e-2;
    p = p * f - 1.1514610310e-1;
    p = p * f + 1.1676998740e-1;
    p = p * f - 1.2420140846e-1;
    p = p * f + 1.4249322787e-1;
    p = p * f - 1.6668057665e-1;
    p = p * f + 2.0000714765e-1;
    p = p * f - 2.4999993993e-1;
    p = p * f + 3.3333331174e-1;
    let square = f * f;
    return f - 0.5 * square + f * square * p + exponent * 0.69314718;
}

// Elements 2 pair and 2 pair + 1 of a picture's noise of one step.
fn normal_pair(key: vec2<u32>, step: u32, pair: u32) -> vec2<f32> {
    let bits = threefry2x32(key, vec2<u32>(step, pair));
    let radius = sqrt(-2.0 * natural_log(uniform_of(bits.x)));
    // The second uniform number, as a fraction of a turn with 32 bits.
    let sin_cos = sin_cos_of_turn((bits.y & 0xFFFFFE00u) | 0x100u);
    return radius * vec2<f32>(sin_cos.y, sin_cos.x);
}

// Elements 4 quad..4 quad + 4.
fn normal_quad(key: vec2<u32>, step: u32, quad: u32) -> vec4<f32> {
    return vec4<f32>(normal_pair(key, step, 2u * quad), normal_pair(key, step, 2u * quad + 1u));
}
