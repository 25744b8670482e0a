// A quantile of |x_0| of each picture, by a workgroup: the bits of floats that are not negative are ordered as the floats
// are, so the number at a place of the sorted list is found by its digits, the highest first, eight bits at a time.
struct Parameters {
    pictures: u32,
    elements: u32, // of each picture
    channels: u32,
    output_channels: u32,
    guided: u32, // the output is of two passes
    rescaled: u32,
    pulled: u32, // there is a gradient
    below: u32, // the quantile's place in the sorted list, rounded down
    part: f32, // how far it is from there to the next
    most: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> table: array<f32>; // [row][weight 16]
@group(0) @binding(2) var<storage, read> output: array<f32>;
@group(0) @binding(3) var<storage, read> factors: array<f32>; // [picture], of what guidance makes
@group(0) @binding(4) var<storage, read> gradient: array<f32>;
@group(0) @binding(5) var<storage, read> x: array<f32>;
@group(0) @binding(6) var<storage, read_write> thresholds: array<f32>;

var<workgroup> counts: array<atomic<u32>, 256>;
var<workgroup> prefix: u32; // the digits found so far
var<workgroup> place: u32; // among the numbers that begin with them
var<workgroup> next: atomic<u32>; // the smallest number above the one that was found

fn size_of(i: u32) -> u32 {
    let w = 16u * step.sampler_row;
    let at = i / parameters.channels * parameters.output_channels + i % parameters.channels;
    var out = output[at];
    if parameters.guided != 0u {
        let len = parameters.pictures * parameters.elements;
        let unconditional = output[len / parameters.channels * parameters.output_channels + at];
        out = unconditional + table[w + 13u] * (out - unconditional);
    }
    if parameters.rescaled != 0u {
        out *= factors[i / parameters.elements];
    }
    if parameters.pulled != 0u {
        out += table[w + 14u] * gradient[i];
    }
    return bitcast<u32>(table[w] * x[i] + table[w + 1u] * out) & 0x7FFFFFFFu;
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let picture = group_number(group, groups);
    if picture >= parameters.pictures {
        return;
    }
    let first = picture * parameters.elements;
    let end = first + parameters.elements;
    if thread == 0u {
        prefix = 0u;
        place = parameters.below;
        atomicStore(&next, 0xFFFFFFFFu);
    }
    for (var digit = 0u; digit < 4u; digit++) {
        let shift = 24u - 8u * digit;
        atomicStore(&counts[thread], 0u);
        workgroupBarrier();
        let found = prefix;
        let above = (shift + 8u) & 31u; // there is nothing above the first digit
        for (var i = first + thread; i < end; i += 256u) {
            let size = size_of(i);
            if digit == 0u || (size >> above) == (found >> above) {
                atomicAdd(&counts[(size >> shift) & 255u], 1u);
            }
        }
        workgroupBarrier();
        if thread == 0u {
            var left = place;
            var value = 0u;
            for (; value < 255u; value++) {
                let count = atomicLoad(&counts[value]);
                if left < count {
                    break;
                }
                left -= count;
            }
            place = left;
            prefix = found | (value << shift);
        }
        workgroupBarrier();
    }
    // `place` counts those of the same value before it. The next of the list is the same value or the next larger.
    let low = prefix;
    let last_digit = low & 255u;
    var high = low;
    if place + 1u == atomicLoad(&counts[last_digit]) {
        var smallest = 0xFFFFFFFFu;
        for (var i = first + thread; i < end; i += 256u) {
            let size = size_of(i);
            if size > low {
                smallest = min(smallest, size);
            }
        }
        atomicMin(&next, smallest);
    }
    workgroupBarrier();
    if thread == 0u {
        let above = atomicLoad(&next);
        if above != 0xFFFFFFFFu {
            high = above;
        }
        var quantile = bitcast<f32>(low);
        if parameters.part > 0.0 {
            quantile += parameters.part * (bitcast<f32>(high) - quantile);
        }
        if quantile < 1.0 {
            quantile = 1.0;
        }
        if quantile > parameters.most {
            quantile = parameters.most;
        }
        thresholds[picture] = quantile;
    }
}
