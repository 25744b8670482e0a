// A number brought into [-range, range]. Comparisons leave NaN as it is; clamp would hide it.
fn clipped(value: f32, range: f32) -> f32 {
    if value > range {
        return range;
    }
    if value < -range {
        return -range;
    }
    return value;
}
