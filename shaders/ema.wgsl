// average += rate (parameter - average), where the rate is 1 less the decay, or in a table.
struct Parameters {
    len: u32,
    scaled: u32, // whether control says if this is a step at all
    row: u32, // of the table of rates; the largest integer for none
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> weight: array<number>;
@group(0) @binding(2) var<storage, read_write> average: array<number>;
@group(0) @binding(3) var<storage, read> control: array<f32>;
@group(0) @binding(4) var<storage, read> rates: array<f32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    if parameters.scaled != 0u && control[1] == 0.0 {
        return;
    }
    var rate = 1.0 - step.ema_decay;
    if parameters.row != 0xFFFFFFFFu {
        rate = rates[parameters.row];
    }
    let first = group_number(group, groups) * (1024u / together) + thread;
    for (var i = first; i < min(first + 1024u / together, parameters.len / together); i += 256u) {
        average[i] += rate * (weight[i] - average[i]);
    }
}
