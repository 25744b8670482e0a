// The sliced score matching loss of every picture, summed over runs of 4096 elements and divided by the elements: a
// workgroup for each run. src/kernels/sliced_score.rs has the formula.
struct Parameters {
    pictures: u32,
    elements: u32, // of each picture
    reach: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> output: array<real1>; // [2][picture][element]
@group(0) @binding(2) var<storage, read> directions: array<f32>;
@group(0) @binding(3) var<storage, read> levels: array<f32>; // [picture][column 8]
@group(0) @binding(4) var<storage, read_write> partials: array<f32>; // [picture][run]

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let number = group_number(group, groups);
    let runs = (parameters.elements + 4095u) / 4096u;
    let picture = number / runs;
    let first = number % runs * 4096u;
    var sum = 0.0;
    if picture < parameters.pictures {
        let of_epsilon = levels[8u * picture + 3u];
        for (var element = first + thread; element < min(first + 4096u, parameters.elements); element += 256u) {
            let i = picture * parameters.elements + element;
            let ahead = f32(output[i]) / of_epsilon;
            let behind = f32(output[parameters.pictures * parameters.elements + i]) / of_epsilon;
            let slope = directions[i] * (ahead - behind) * (0.5 / parameters.reach);
            sum += 0.25 * (ahead * ahead + behind * behind) - slope;
        }
    }
    let all = sum_over_group(sum, thread);
    if thread == 0u && picture < parameters.pictures {
        partials[number] = all / f32(parameters.elements);
    }
}
