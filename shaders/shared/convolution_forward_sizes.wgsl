// The uniform block of every forward convolution.
struct Parameters {
    geometry: Geometry,
    @align(16) has_bias: u32,
    has_per_picture: u32,
    has_residual: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
