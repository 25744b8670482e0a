//! Whole chains of three numbers and an affine network against diffusers: `tests/golden/trajectories.json`, which
//! trajectories.py writes.

mod scalar;

use aquatint::diffusion::{Chain, ChainOptions, Churn, SamplerName, SchedulerConfig, Timesteps};
use serde_json::Value;

/// diffusers has its noise levels in single precision.
const TOLERANCE: f64 = 2e-5;

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn chain(case: &Value) -> Chain {
    let config = SchedulerConfig::from_json(&case["scheduler"], "golden").unwrap();
    let number = |key: &str, or: f64| case[key].as_f64().unwrap_or(or);
    let none = Churn::default();
    let options = ChainOptions {
        sampler: Some(SamplerName::of(config.class)),
        steps: case["steps"].as_u64().map(|steps| steps as usize),
        timesteps: case["timesteps"].as_array().map(|list| {
            Timesteps::List(list.iter().map(|timestep| timestep.as_u64().unwrap() as usize).collect())
        }),
        churn: Churn {
            amount: number("s_churn", none.amount),
            least: number("s_tmin", none.least),
            most: number("s_tmax", none.most),
            deviation: number("s_noise", none.deviation),
        },
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
        let churn = case["s_noise"].as_f64().unwrap_or(1.0);
        let unchurned = {
            let mut case = case.clone();
            case["s_churn"] = 0.0.into();
            case["s_tmin"] = Value::Null;
            case["s_tmax"] = Value::Null;
            case["s_noise"] = Value::Null;
            self::chain(&case)
        };
        for (i, expected) in numbers(&case["picture"]).into_iter().enumerate() {
            let drawn = |draw: usize| noise[(draw + i) % noise.len()];
            // The first step's churn is a part of the noise that a chain begins with.
            let [before, begin] = [&unchurned, &chain].map(|chain| chain.stages()[0].level);
            let [sigma, churned] = [before, begin].map(|[signal, noise]| noise / signal);
            let added = churn * (churned * churned - sigma * sigma).max(0.0).sqrt() * drawn(0);
            let x = begin[0] * (start[i] * unchurned.initial_deviation() / before[0] + added);
            let network = |x: &f64, stage: &aquatint::diffusion::Stage| 0.8 * x + 0.1 + stage.timestep / 8000.0;
            let found = scalar::run(&chain, x, network, drawn, |_, _| {});
            let difference = (found - expected).abs() / (1.0 + expected.abs());
            assert!(difference < TOLERANCE, "{}: {found}, {expected}", case["scheduler"]);
            worst = worst.max(difference);
        }
    }
    println!("worst {worst:.1e}");
}
