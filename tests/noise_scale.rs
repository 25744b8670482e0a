//! The gradient noise scale of a run: the same however a step is cut into micro-batches, where their draws are independent,
//! and none where they are not.

mod runs;

use aquatint::device::Host;
use aquatint::diffusion::SchedulerConfig;
use aquatint::nn::UNetConfig;
use aquatint::training::{Run, RunConfig, TimestepSampler, TrainingConfig, TrainingState, default_unet};
use runs::digits;
use serde_json::json;

const PICTURES: usize = 64;

fn config(class: &str, sampler: TimestepSampler, cuts: usize) -> RunConfig {
    let unet = UNetConfig {
        block_out_channels: vec![4, 8],
        norm_num_groups: Some(2),
        add_attention: false,
        ..default_unet(8, 8, 1, None)
    };
    RunConfig {
        unet,
        scheduler: SchedulerConfig::from_json(&json!({ "_class_name": class }), "test").unwrap(),
        training: TrainingConfig {
            dataset: "digits:even".into(),
            max_train_steps: 3,
            train_batch_size: PICTURES / cuts,
            gradient_accumulation_steps: cuts,
            timestep_sampler: Some(sampler),
            lr_warmup_steps: 1,
            seed: 5,
            ..TrainingConfig::default()
        },
    }
}

#[test]
fn how_a_step_is_cut_does_not_matter() {
    for class in ["DDPMScheduler", "ScoreSdeVpScheduler"] {
        let found = [2, 8, 32].map(|cuts| {
            let mut run = Run::unwritten(config(class, TimestepSampler::Uniform, cuts), digits()).unwrap();
            run.suggest_batch(&mut Host::<f32>::new(), 80, true, |_, _| {}).unwrap().estimate
        });
        println!("{class}: {found:?}");
        // Eight are compared in the middle: it has more to compare than two, and each has more pictures than of 32.
        for other in [found[0], found[2]] {
            let ratio = other.variance / found[1].variance;
            assert!((ratio - 1.0).abs() < 0.2, "{class}: tr(Sigma) {ratio} times as large: {found:?}");
            let ratio = other.squared_gradient / found[1].squared_gradient;
            assert!((ratio - 1.0).abs() < 0.2, "{class}: |G|^2 {ratio} times as large: {found:?}");
        }
    }
}

#[test]
fn stratified_timesteps_have_none() {
    let folder = tempfile::tempdir().unwrap();
    for class in ["DDPMScheduler", "ScoreSdeVpScheduler"] {
        for (sampler, known) in [(TimestepSampler::Uniform, true), (TimestepSampler::Stratified, false)] {
            let out = folder.path().join(format!("{class} {known}"));
            let config = config(class, sampler, 4);
            let mut cut = config.training.clone();
            let mut device = Host::<f32>::new();
            let mut run = Run::start(&out, config, digits()).unwrap();
            run.load(&mut device).unwrap();
            run.train(&mut device, |_| {}).unwrap();
            let log = std::fs::read_to_string(out.join("log.csv")).unwrap();
            assert_eq!(
                log.lines().skip(1).filter(|line| line.ends_with(',')).count(),
                if known { 0 } else { 3 },
                "{log}"
            );

            let state = TrainingState::read(&out).unwrap();
            let mut run = Run::resume(&out, state, digits()).unwrap();
            let measured = run.suggest_batch(&mut device, 2, true, |_, _| {}).map(|_| ());
            for done in [measured, cut.cut_for_noise_scale()] {
                match done {
                    Ok(()) => assert!(known),
                    Err(error) => {
                        let message = error.to_string();
                        let words = ["--suggest-batch", "\"stratified\"", "--timestep-sampler uniform"];
                        assert!(!known && words.iter().all(|word| message.contains(word)), "{message}");
                    }
                }
            }
        }
    }
}
