// Sums of the bound's terms over runs of 4096 elements of a picture, a workgroup for each, in bits per dimension.
@group(0) @binding(6) var<storage, read_write> partials: array<f32>; // [picture][part]

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let number = group_number(group, groups);
    let parts = (parameters.elements + 4095u) / 4096u;
    let picture = number / parts;
    let there = picture < parameters.pictures;
    let first = number % parts * 4096u;
    var sum = 0.0;
    if there {
        for (var element = first + thread; element < min(first + 4096u, parameters.elements); element += 256u) {
            sum += term_of_element(picture * parameters.elements + element).value;
        }
    }
    let all = sum_over_group(sum, thread);
    if thread == 0u && there {
        partials[number] = all * NATS / f32(parameters.elements);
    }
}
