// The random bits that say a picture's timestep, by its place in the step's whole batch. Comes after shared/step.wgsl and
// shared/threefry.wgsl.

// Without a stride every picture draws for itself. With one, the batch draws once and its pictures follow one another at
// equal distances on the circle of 2^32: stratified.
fn timestep_bits(place: u32, stride: u32) -> u32 {
    let seed = vec2<u32>(step.seed_low, step.seed_high);
    if stride == 0u {
        return threefry2x32(picture_key(seed, TRAINING_TIMESTEP, place), vec2<u32>(step.step, 0u)).x;
    }
    let first = threefry2x32(picture_key(seed, TRAINING_TIMESTEP, 0u), vec2<u32>(step.step, 1u)).x;
    return first + place * stride;
}
