// Threefry-2x32-20 (Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"): random bits as a
// pure function of a key and a counter.
fn threefry_round(x: vec2<u32>, left: u32) -> vec2<u32> {
    let sum = x.x + x.y;
    return vec2<u32>(sum, ((x.y << left) | (x.y >> (32u - left))) ^ sum);
}

fn threefry2x32(key: vec2<u32>, counter: vec2<u32>) -> vec2<u32> {
    let last = 0x1BD11BDAu ^ key.x ^ key.y;
    var x = counter + key;
    x = threefry_round(x, 13u); x = threefry_round(x, 15u); x = threefry_round(x, 26u); x = threefry_round(x, 6u);
    x += vec2<u32>(key.y, last + 1u);
    x = threefry_round(x, 17u); x = threefry_round(x, 29u); x = threefry_round(x, 16u); x = threefry_round(x, 24u);
    x += vec2<u32>(last, key.x + 2u);
    x = threefry_round(x, 13u); x = threefry_round(x, 15u); x = threefry_round(x, 26u); x = threefry_round(x, 6u);
    x += vec2<u32>(key.x, key.y + 3u);
    x = threefry_round(x, 17u); x = threefry_round(x, 29u); x = threefry_round(x, 16u); x = threefry_round(x, 24u);
    x += vec2<u32>(key.y, last + 4u);
    x = threefry_round(x, 13u); x = threefry_round(x, 15u); x = threefry_round(x, 26u); x = threefry_round(x, 6u);
    x += vec2<u32>(last, key.x + 5u);
    return x;
}

// What a picture's numbers are drawn for: src/kernels/random.rs.
const TRAINING_TIMESTEP: u32 = 2u;
const TRAINING_NOISE: u32 = 3u;
const INITIAL_NOISE: u32 = 4u;
const REVERSE_NOISE: u32 = 5u;
const TRAINING_DIRECTION: u32 = 24u;
const KNOWN_NOISE: u32 = 25u;
const CLASS_DROPOUT: u32 = 30u;

// Every picture of a run has a key of its own for each purpose.
fn picture_key(seed: vec2<u32>, purpose: u32, picture: u32) -> vec2<u32> {
    return threefry2x32(seed, vec2<u32>(purpose, picture));
}

// In (0, 1): never 0, never 1, exact in f32.
fn uniform_of(bits: u32) -> f32 {
    return (f32(bits >> 9u) + 0.5) * 0x1p-23;
}
