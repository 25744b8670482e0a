// sin and cos of phase / 2^32 turns, right to 1e-7: WGSL lets the built-in functions be off by 2^-11. The angle is
// split, exactly, into the nearest quarter turn and a rest of at most an eighth of a turn; the rest goes through
// Cephes' polynomials.
fn sin_cos_of_turn(phase: u32) -> vec2<f32> {
    let quarter = (phase + 0x20000000u) >> 30u;
    let rest = bitcast<i32>(phase - (quarter << 30u));
    let x = f32(rest) * 1.4629180792671596e-9; // 2 pi / 2^32
    let z = x * x;
    let sine = x + x * z * (-0.16666654611 + z * (8.3321608736e-3 - z * 1.9515295891e-4));
    let cosine = 1.0 - 0.5 * z + z * z * (4.1666645683e-2 + z * (z * 2.4433157118e-5 - 1.3887316255e-3));
    var result = vec2<f32>(sine, cosine);
    if (quarter & 1u) != 0u {
        result = vec2<f32>(cosine, -sine);
    }
    if (quarter & 2u) != 0u {
        result = -result;
    }
    return result;
}
