// What the passes of a group normalisation after the statistics have in common.
struct Parameters {
    pictures: u32,
    pixels: u32,
    channels: u32,
    groups: u32,
    silu: u32,
    per_picture: u32, // weight and bias are [picture][channel]
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<real1>;
@group(0) @binding(2) var<storage, read> statistics: array<f32>; // [picture][group][mean, 1 / deviation]
@group(0) @binding(3) var<storage, read> weight: array<real3>;
@group(0) @binding(4) var<storage, read> bias: array<real4>;

// Where a channel's statistics are.
fn statistics_of(picture: u32, channel: u32) -> u32 {
    return 2u * (picture * parameters.groups + channel / (parameters.channels / parameters.groups));
}

// Where a channel's weight and bias are.
fn affine_of(picture: u32, channel: u32) -> u32 {
    return select(channel, picture * parameters.channels + channel, parameters.per_picture != 0u);
}

// dz, the gradient before SiLU, from the gradient after it.
fn before_silu(dy: f32, xhat: f32, affine: u32) -> f32 {
    if parameters.silu == 0u {
        return dy;
    }
    return dy * silu_slope(xhat * f32(weight[affine]) + f32(bias[affine]));
}
