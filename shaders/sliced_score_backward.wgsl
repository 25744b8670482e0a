// The gradient of each picture's sliced score matching loss by both of its outputs.
struct Parameters {
    pictures: u32,
    elements: u32, // of each picture
    reach: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> output: array<real1>; // [2][picture][element]
@group(0) @binding(2) var<storage, read> directions: array<f32>;
@group(0) @binding(3) var<storage, read> levels: array<f32>; // [picture][column 8]
@group(0) @binding(4) var<storage, read> upstream: array<f32>; // [picture]
@group(0) @binding(5) var<storage, read_write> gradient: array<real5>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let all = parameters.pictures * parameters.elements;
    let first = group_number(group, groups) * 1024u + thread;
    for (var at = first; at < min(first + 1024u, 2u * all); at += 256u) {
        let is_behind = at >= all;
        let i = select(at, at - all, is_behind);
        let picture = i / parameters.elements;
        let of_epsilon = levels[8u * picture + 3u];
        let scale = upstream[picture] / (f32(parameters.elements) * of_epsilon);
        let towards = directions[i] * (0.5 / parameters.reach);
        gradient[at] = real5(scale * (0.5 * f32(output[at]) / of_epsilon + select(-towards, towards, is_behind)));
    }
}
