// The uniform block of every gradient of a convolution's weight.
struct Parameters {
    geometry: Geometry,
    @align(16) splits: u32,
    pixels_per_split: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
