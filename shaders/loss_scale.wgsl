// What the norm of a scaled gradient says: the norm itself and the factor that takes the scale out of the gradient, or
// zeros where a number was too large; and the scale for the next step. One thread.
struct Parameters {
    patience: f32,
    smallest: f32,
    largest: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> norm: array<f32>;
@group(0) @binding(2) var<storage, read_write> state: array<f32>; // scale, good steps since it changed, skipped steps
@group(0) @binding(3) var<storage, read_write> control: array<f32>;

@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) group: vec3<u32>) {
    if group.x > 0u {
        return;
    }
    let scale = state[0];
    // By its bits: compilers may take it that no number is infinite or NaN.
    if (bitcast<u32>(norm[0]) & 0x7F800000u) == 0x7F800000u {
        control[0] = 0.0;
        control[1] = 0.0;
        state[0] = max(scale * 0.5, parameters.smallest);
        state[1] = 0.0;
        state[2] += 1.0;
        return;
    }
    control[0] = norm[0] / scale;
    control[1] = 1.0 / scale;
    let good = state[1] + 1.0;
    if good >= parameters.patience {
        state[0] = min(scale * 2.0, parameters.largest);
        state[1] = 0.0;
    } else {
        state[1] = good;
    }
}
