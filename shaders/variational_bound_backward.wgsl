// The gradient of the network's output. Where variances are not learned, its second half of channels has none.
@group(0) @binding(6) var<storage, read> upstream: array<f32>; // [picture]
@group(0) @binding(7) var<storage, read_write> gradient: array<real7>; // as output

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let first = group_number(group, groups) * 1024u + thread;
    let len = parameters.pictures * parameters.elements;
    for (var i = first; i < min(first + 1024u, len); i += 256u) {
        let term = term_of_element(i);
        let scale = upstream[i / parameters.elements] * NATS / f32(parameters.elements);
        let at = place_of(i);
        gradient[at] = real7(scale * term.of_prediction);
        if parameters.output_channels > parameters.channels {
            gradient[at + parameters.channels] = real7(scale * term.of_variance);
        }
    }
}
