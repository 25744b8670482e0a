// Sum and maximum of one number from each of a workgroup's 256 threads, in a fixed order. Every thread of the workgroup
// has to call them, and every one gets the result.
var<workgroup> reduced: array<f32, 256>;

fn sum_over_group(value: f32, thread: u32) -> f32 {
    reduced[thread] = value;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if thread < half {
            reduced[thread] += reduced[thread + half];
        }
    }
    return workgroupUniformLoad(&reduced[0]); // with a barrier before it and one after it
}

fn max_over_group(value: f32, thread: u32) -> f32 {
    reduced[thread] = value;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if thread < half {
            reduced[thread] = max(reduced[thread], reduced[thread + half]);
        }
    }
    return workgroupUniformLoad(&reduced[0]);
}
