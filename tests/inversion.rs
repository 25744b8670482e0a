//! Pictures to noise and back: DDIM the other way round, and the flow with adaptive steps.

mod scalar;

use aquatint::diffusion::likelihood::{Flow, Predictor, Tolerance};
use aquatint::diffusion::{
    Chain, ChainOptions, Direction, NoiseLevels, SamplerName, SchedulerConfig, Stage, Timesteps, follow_flow,
};
use scalar::form::Target;
use serde_json::{Value, json};

const TARGET: Target = Target { mean: 0.3, variance: 0.5 };

fn config(keys: Value) -> SchedulerConfig {
    SchedulerConfig::from_json(&keys, "test").unwrap()
}

/// A network that is not affine: eps.
fn network(x: &f64, stage: &Stage) -> f64 {
    (0.9 * x + 0.1 * (stage.timestep / 300.0).sin()).tanh()
}

/// How far a picture that goes to noise and back is from itself.
fn there_and_back(config: &SchedulerConfig, options: &ChainOptions, iterations: usize) -> f64 {
    let back = Chain::inversion(config, options.clone(), iterations).unwrap();
    let sampler = if config.process().is_some() { SamplerName::Euler } else { SamplerName::Ddim };
    let forth = Chain::new(config, ChainOptions { sampler: Some(sampler), ..options.clone() }).unwrap();
    assert_eq!((back.draws(), back.stages().len()), (forth.draws(), iterations * forth.stages().len()));
    let picture = 0.35;
    let none = |_| 0.0;
    let x = scalar::run(&back, picture * back.initial_deviation(), network, none, |_, _| {});
    // As `invert` writes it and `sample --init-noise` takes it.
    let noise = x / forth.initial_deviation();
    let found = scalar::run(&forth, noise * forth.initial_deviation(), network, none, |_, _| {});
    (found - picture).abs()
}

#[test]
fn inversion_goes_there_and_back() {
    let steps = |steps: usize| ChainOptions { steps: Some(steps), ..ChainOptions::default() };
    let discrete = || config(json!({ "clip_sample": false, "beta_schedule": "scaled_linear" }));
    for config in [
        discrete(),
        config(json!({ "_class_name": "DDIMScheduler", "set_alpha_to_one": false, "clip_sample": false })),
        config(json!({ "prediction_type": "epsilon", "clip_sample": false, "timestep_spacing": "linspace" })),
        config(json!({ "_class_name": "ScoreSdeVpScheduler" })),
        config(json!({ "_class_name": "ScoreSdeVeScheduler", "prediction_type": "epsilon", "sigma_max": 10.0 })),
    ] {
        let errors = [1, 3, 40].map(|iterations| there_and_back(&config, &steps(40), iterations));
        println!("{:?}: {errors:?}", config.class);
        assert!(errors[1] < 0.5 * errors[0] && errors[2] < 1e-6, "{:?}: {errors:?}", config.class);
    }
    // One run of the network in a step is Euler's method both ways.
    let errors = [100, 200, 400].map(|count| there_and_back(&discrete(), &steps(count), 1));
    assert!(errors[1] < 0.65 * errors[0] && errors[2] < 0.65 * errors[1], "{errors:?}");
    let list = ChainOptions { timesteps: Some(Timesteps::List(vec![900, 500, 77])), ..ChainOptions::default() };
    assert!(there_and_back(&discrete(), &list, 60) < 1e-6);
}

#[test]
fn what_cannot_be_inverted_is_refused() {
    let refused = |options: ChainOptions, iterations: usize, words: &[&str]| {
        let message = Chain::inversion(&config(json!({})), options, iterations).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)) && !message.contains('\n'), "{message}");
    };
    refused(ChainOptions::default(), 0, &["0 iterations"]);
    refused(ChainOptions { eta: 0.5, ..ChainOptions::default() }, 1, &["no eta"]);
    refused(
        ChainOptions { sampler: Some(SamplerName::Rk45), steps: Some(1001), ..ChainOptions::default() },
        1,
        &["1001"],
    );
    let options = ChainOptions { sampler: Some(SamplerName::Rk45), ..ChainOptions::default() };
    let message = Chain::new(&config(json!({})), options).unwrap_err().to_string();
    assert!(message.contains("rk45 has no chain"), "{message}");
}

/// The exact prediction of eps for normal data, in singles, three pictures at a time.
struct Exact<'a> {
    levels: NoiseLevels,
    flow_range: [f64; 2],
    config: &'a SchedulerConfig,
}

impl Exact<'_> {
    /// The sigma that a network of timesteps, or of VP, is told of: found by halving.
    fn sigma(&self, told: f64) -> f64 {
        let [mut low, mut high] = self.flow_range.map(f64::ln);
        for _ in 0..80 {
            let middle = 0.5 * (low + high);
            if self.levels.at(middle.exp()).told < told { low = middle } else { high = middle }
        }
        (0.5 * (low + high)).exp()
    }
}

impl Predictor for Exact<'_> {
    fn batch(&self) -> usize {
        3
    }

    fn predict(&mut self, x: &[f32], told: &[f32], _: Option<&[u32]>) -> aquatint::Result<Vec<f32>> {
        let elements = x.len() / told.len();
        let output = |(i, x): (usize, &f32)| {
            let sigma = self.sigma(told[i / elements].into());
            let level = self.levels.at(sigma);
            let [mean, variance] = TARGET.at([level.signal, level.noise]);
            let epsilon = level.noise / variance * (f64::from(*x) - mean);
            assert_eq!(self.config.prediction_type, aquatint::diffusion::PredictionType::Epsilon);
            epsilon as f32
        };
        Ok(x.iter().enumerate().map(output).collect())
    }
}

#[test]
fn adaptive_steps_keep_to_their_tolerance() {
    for keys in [
        json!({ "_class_name": "ScoreSdeVpScheduler", "sampling_eps": 0.01 }),
        json!({ "_class_name": "ScoreSdeVpScheduler", "sub_vp": true, "sampling_eps": 0.01 }),
        json!({ "_class_name": "ScoreSdeVeScheduler", "prediction_type": "epsilon", "sigma_max": 20.0 }),
        json!({ "num_train_timesteps": 1000 }),
    ] {
        let config = config(keys.clone());
        let flow = Flow::new(&config).unwrap();
        let levels = NoiseLevels::new(&config);
        let range = levels.range();
        let mut exact = Exact { levels, flow_range: range, config: &config };
        let follow = |exact: &mut Exact, states: &[f32], direction, tolerance: f64| {
            let tolerance = Tolerance { absolute: tolerance, relative: tolerance };
            follow_flow(&flow, exact, states, [2, 1], None, (direction, tolerance), &mut |_, _| {}).unwrap()
        };
        let prior = exact.levels.prior_variance().sqrt();
        let [low, high] = range.map(|sigma| TARGET.at([1.0, sigma]));
        let noise = [-1.9_f32, -0.8, -0.1, 0.4, 0.9, 1.6, 2.2, -2.4, 0.0, 1.0];
        // From x = prior z at the last level to the first, and its prediction there.
        let expected = noise.map(|z| {
            let y = low[0] + (low[1] / high[1]).sqrt() * (f64::from(z) * prior - high[0]);
            TARGET.mean + TARGET.variance / low[1] * (y - low[0])
        });
        let mut before = (f64::INFINITY, 0.0);
        for tolerance in [1e-4, 1e-5, 1e-6] {
            let found = follow(&mut exact, &noise, Direction::ToPictures, tolerance);
            let errors =
                found.pictures.iter().zip(expected).map(|(found, expected)| (f64::from(*found) - expected).abs());
            let error = errors.fold(0.0, f64::max);
            println!("{keys} {tolerance:.0e}: {error:.1e}, {} runs", found.function_evaluations);
            assert!(error < 20.0 * tolerance && error < before.0.max(1e-5), "{keys}, {tolerance}: {error}");
            assert!(found.function_evaluations > before.1, "{keys}, {tolerance}");
            before = (error, found.function_evaluations);
        }
        // A picture goes the same way whatever is beside it.
        let alone = follow(&mut exact, &noise[4..6], Direction::ToPictures, 1e-4);
        let together = follow(&mut exact, &noise, Direction::ToPictures, 1e-4);
        assert_eq!(alone.pictures, together.pictures[4..6]);
        // To noise, and back to what is predicted of the picture at the first level.
        let pictures = [-0.9_f32, 0.2, 0.7, 0.95];
        let found = follow(&mut exact, &pictures, Direction::ToNoise, 1e-6);
        let back = follow(&mut exact, &found.pictures, Direction::ToPictures, 1e-6);
        for (back, picture) in back.pictures.iter().zip(pictures) {
            let expected = TARGET.mean + TARGET.variance / low[1] * (f64::from(picture) - low[0]);
            assert!((f64::from(*back) - expected).abs() < 1e-4, "{keys}: {back}, {expected}");
        }
    }
}
