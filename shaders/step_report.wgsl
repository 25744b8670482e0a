// The loss and the norm of a micro-batch in its row of the report. One thread.
struct Parameters {
    rows: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> loss: array<f32>;
@group(0) @binding(2) var<storage, read> norm: array<f32>;
@group(0) @binding(3) var<storage, read_write> report: array<f32>;

@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) group: vec3<u32>) {
    if group.x > 0u || step.micro_batch >= parameters.rows {
        return;
    }
    report[2u * step.micro_batch] = loss[0];
    report[2u * step.micro_batch + 1u] = norm[0];
}
