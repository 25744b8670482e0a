// What the student is to predict of x_t: a weighted sum of x_t, of the teacher's x_0 of it, of x after the teacher's step,
// and of the x_0 that is said of that, clipped. src/kernels/distillation.rs names the numbers.
struct Parameters {
    len: u32,
    elements: u32, // of each picture
    clip_range: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> table: array<f32>; // [step][number 15]
@group(0) @binding(2) var<storage, read> levels: array<f32>; // [picture][column 8]
@group(0) @binding(3) var<storage, read> x: array<f32>;
@group(0) @binding(4) var<storage, read> x0: array<f32>;
@group(0) @binding(5) var<storage, read> after: array<f32>;
@group(0) @binding(6) var<storage, read> output: array<real6>; // of what is after
@group(0) @binding(7) var<storage, read_write> goal: array<f32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let first = group_number(group, groups) * 1024u + thread;
    for (var i = first; i < min(first + 1024u, parameters.len); i += 256u) {
        let w = 15u * u32(levels[i / parameters.elements * 8u + 6u]);
        let last = clipped(table[w + 9u] * after[i] + table[w + 10u] * f32(output[i]), parameters.clip_range);
        goal[i] = table[w + 11u] * x[i] + table[w + 12u] * x0[i] + table[w + 13u] * after[i] + table[w + 14u] * last;
    }
}
