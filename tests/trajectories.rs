//! Whole chains of three numbers and an affine network against diffusers: `tests/golden/trajectories.json`, which
//! trajectories.py writes.

mod scalar;

use aquatint::diffusion::{Chain, ChainOptions, SamplerName, SchedulerConfig, Timesteps};
use serde_json::Value;

/// diffusers has its noise levels in single precision.
const TOLERANCE: f64 = 2e-5;

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn chain(case: &Value) -> Chain {
    let config = SchedulerConfig::from_json(&case["scheduler"], "golden").unwrap();
    let options = ChainOptions {
        sampler: Some(SamplerName::of(config.class)),
        steps: case["steps"].as_u64().map(|steps| steps as usize),
        timesteps: case["timesteps"]
            .as_array()
            .map(|list| Timesteps::List(list.iter().map(|timestep| timestep.as_u64().unwrap() as usize).collect())),
        ..ChainOptions::default()
    };
    let chain = Chain::new(&config, options).unwrap();
    let algorithm = &case["scheduler"]["algorithm_type"];
    if algorithm == "sde-dpmsolver++" {
        // Named, it is what the configuration has.
        let options = ChainOptions {
            sampler: Some(SamplerName::DpmSolverSde),
            steps: Some(chain.steps()),
            ..ChainOptions::default()
        };
        assert_eq!(Chain::new(&config, options).unwrap().stages(), chain.stages());
    }
    chain
}

#[test]
fn chains_end_where_those_of_diffusers_do() {
    let text = include_str!("golden/trajectories.json");
    let golden: Value = serde_json::from_str(text).unwrap();
    let (start, noise) = (numbers(&golden["start"]), numbers(&golden["noise"]));
    let mut worst: f64 = 0.0;
    for case in golden["chains"].as_array().unwrap() {
        let chain = chain(case);
        for (i, expected) in numbers(&case["picture"]).into_iter().enumerate() {
            let drawn = |draw: usize| noise[(draw + i) % noise.len()];
            let x = start[i] * chain.initial_deviation();
            let network = |x: &f64, stage: &aquatint::diffusion::Stage| 0.8 * x + 0.1 + stage.timestep / 8000.0;
            let found = scalar::run(&chain, x, network, drawn, |_, _| {});
            let difference = (found - expected).abs() / (1.0 + expected.abs());
            assert!(difference < TOLERANCE, "{}: {found}, {expected}", case["scheduler"]);
            worst = worst.max(difference);
        }
    }
    println!("worst {worst:.1e}");
}
