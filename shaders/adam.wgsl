// One step of Adam or AdamW over a run of a flat buffer, with the gradient clipped by the norm of the whole.
struct Parameters {
    len: u32,
    beta1: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    epsilon: f32,
    weight_decay: f32,
    decoupled: u32,
    scaled: u32, // the factor that takes the loss's scale out of the gradient follows the norm; 0: no step
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> gradient: array<number>;
@group(0) @binding(2) var<storage, read> norm: array<f32>;
@group(0) @binding(3) var<storage, read_write> weight: array<number>;
@group(0) @binding(4) var<storage, read_write> first_moment: array<number>;
@group(0) @binding(5) var<storage, read_write> second_moment: array<number>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    // NaN for a norm that is NaN, so that it spreads and is noticed.
    var clip = step.clip_norm / (norm[0] + 1e-6);
    if clip > 1.0 {
        clip = 1.0;
    }
    if parameters.scaled != 0u {
        if norm[1] == 0.0 {
            return;
        }
        clip *= norm[1];
    }
    let first = group_number(group, groups) * (1024u / together) + thread;
    for (var i = first; i < min(first + 1024u / together, parameters.len / together); i += 256u) {
        var p = weight[i];
        var g = gradient[i] * clip;
        if parameters.decoupled != 0u {
            p -= step.learning_rate * parameters.weight_decay * p;
        } else {
            g += parameters.weight_decay * p;
        }
        let m = parameters.beta1 * first_moment[i] + parameters.one_minus_beta1 * g;
        let v = parameters.beta2 * second_moment[i] + parameters.one_minus_beta2 * g * g;
        first_moment[i] = m;
        second_moment[i] = v;
        let deviation = sqrt(v / step.bias_correction2) + parameters.epsilon;
        weight[i] = p - step.learning_rate * (m / step.bias_correction1) / deviation;
    }
}
