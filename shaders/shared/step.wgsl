// What changes from one run of a plan to the next: the same fields as src/plan/step.rs.
struct Step {
    seed_low: u32,
    seed_high: u32,
    step: u32,
    first_picture: u32,
    learning_rate: f32,
    bias_correction1: f32,
    bias_correction2: f32,
    ema_decay: f32,
    clip_norm: f32,
    sampler_row: u32,
    sampler_noise: u32,
    micro_batch: u32,
}
@group(1) @binding(0) var<uniform> step: Step;
