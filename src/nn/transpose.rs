//! Between the order of weights in a checkpoint, `[outputs, inputs, taps]`, and on a device, `[taps, inputs, outputs]`.

/// Rows and columns of a block whose both sides stay in the cache.
const BLOCK: usize = 32;

/// From a checkpoint's order to a device's; all slices hold `outputs * inputs * taps` elements.
pub(super) fn to_device(from: &[f32], into: &mut [f32], sizes: [usize; 3]) {
    for_blocks(sizes, |there, here, stride, len| {
        for (value, place) in into[here..][..len].iter_mut().zip((there..).step_by(stride)) {
            *value = from[place];
        }
    });
}

/// From a device's order to a checkpoint's.
pub(super) fn to_checkpoint(from: &[f32], into: &mut [f32], sizes: [usize; 3]) {
    for_blocks(sizes, |there, here, stride, len| {
        for (value, place) in from[here..][..len].iter().zip((there..).step_by(stride)) {
            into[place] = *value;
        }
    });
}

/// Calls `run` with runs of elements that are `len` neighbours on a device from `here` on, and lie from `there` on in
/// steps of `stride` in a checkpoint. Neighbouring runs share the checkpoint's cache lines.
fn for_blocks([outputs, inputs, taps]: [usize; 3], mut run: impl FnMut(usize, usize, usize, usize)) {
    let stride = inputs * taps;
    for first_output in (0..outputs).step_by(BLOCK) {
        let len = BLOCK.min(outputs - first_output);
        for input in 0..inputs {
            for tap in 0..taps {
                let there = first_output * stride + input * taps + tap;
                run(there, (tap * inputs + input) * outputs + first_output, stride, len);
            }
        }
    }
}
