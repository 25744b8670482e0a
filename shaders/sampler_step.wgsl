// One stage of a sampler: x_0 of x and the network's output, clipped, then the new x as a weighted sum, with noise. A
// thread makes two neighbouring elements, which share one draw. src/kernels/sampler_step.rs names the weights.
struct Parameters {
    pictures: u32,
    elements: u32, // of each picture
    channels: u32,
    output_channels: u32,
    guided: u32, // the output is of two passes
    history: u32,
    thresholding: u32,
    clip_range: f32,
    deviation: u32, // 0 fixed, 1 learned, 2 learned range
    noise_given: u32,
    rescaled: u32,
    pulled: u32, // there is a gradient
    predicted: u32, // there is an output
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> table: array<f32>; // [row][weight 16]
@group(0) @binding(2) var<storage, read> output: array<f32>;
@group(0) @binding(3) var<storage, read> factors: array<f32>; // [picture], of what guidance makes
@group(0) @binding(4) var<storage, read> thresholds: array<f32>;
@group(0) @binding(5) var<storage, read> given: array<f32>;
@group(0) @binding(6) var<storage, read> gradient: array<f32>;
@group(0) @binding(7) var<storage, read_write> kept: array<f32>;
@group(0) @binding(8) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = group_number(group, groups) * 256u + thread;
    let pairs = (parameters.elements + 1u) / 2u;
    let picture = index / pairs;
    if picture >= parameters.pictures {
        return;
    }
    let pair = index % pairs;
    let len = parameters.pictures * parameters.elements;
    let w = 16u * step.sampler_row;
    let with_noise = table[w + 10u] != 0.0;

    var range = parameters.clip_range;
    var divisor = 1.0;
    if parameters.thresholding != 0u {
        range = thresholds[picture];
        divisor = range;
    }
    var factor = 1.0;
    if parameters.rescaled != 0u {
        factor = factors[picture];
    }
    var noise = vec2<f32>(0.0);
    if with_noise && parameters.noise_given == 0u {
        let seed = vec2<u32>(step.seed_low, step.seed_high);
        let key = picture_key(seed, REVERSE_NOISE, step.first_picture + picture);
        noise = normal_pair(key, step.sampler_noise, pair);
    }
    let first = picture * parameters.elements + 2u * pair;
    for (var half = 0u; half < min(2u, parameters.elements - 2u * pair); half++) {
        let i = first + half;
        let at = i / parameters.channels * parameters.output_channels + i % parameters.channels;
        let before = x[i];
        var out = 0.0;
        if parameters.predicted != 0u {
            out = output[at];
        }
        if parameters.guided != 0u {
            let unconditional = output[len / parameters.channels * parameters.output_channels + at];
            out = factor * (unconditional + table[w + 13u] * (out - unconditional));
        }
        if parameters.pulled != 0u {
            out += table[w + 14u] * gradient[i];
        }
        let x0 = clipped(table[w] * before + table[w + 1u] * out, range) / divisor;
        var after = table[w + 2u] * before + table[w + 3u] * x0 + table[w + 4u] * out;
        // What was kept before a chain began is not looked at, whatever it is.
        for (var back = 0u; back < parameters.history; back++) {
            if table[w + 5u + back] != 0.0 {
                after += table[w + 5u + back] * kept[back * len + i];
            }
        }
        if parameters.history > 1u {
            kept[len + i] = kept[i];
        }
        if parameters.history > 0u {
            kept[i] = table[w + 7u] * before + table[w + 8u] * x0 + table[w + 9u] * out;
        }
        if with_noise {
            var z = noise[half];
            if parameters.noise_given != 0u {
                z = given[i];
            }
            var deviation = table[w + 10u];
            if parameters.deviation == 1u {
                var variance = output[at + parameters.channels];
                if variance < table[w + 11u] {
                    variance = table[w + 11u];
                }
                deviation = sqrt(variance);
            } else if parameters.deviation == 2u {
                deviation = exp(table[w + 11u] + table[w + 12u] * output[at + parameters.channels]);
            }
            after += deviation * z;
            if parameters.pulled != 0u {
                after += table[w + 15u] * deviation * deviation * gradient[i];
            }
        }
        x[i] = after;
    }
}
