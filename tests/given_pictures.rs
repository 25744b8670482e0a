//! Pictures in: chains that begin with them, and chains that draw what is not known of them. Against closed forms of
//! Gaussian data in double precision, through the chains' rows and the twins of their kernels; then whole samplers.

mod devices;

use aquatint::device::{Device, Host};
use aquatint::diffusion::{
    Chain, ChainOptions, Known, Request, Resampling, Sampler, SamplerName, SamplerOptions, SchedulerConfig,
};
use aquatint::kernels::known_part::{LUMA, Projection, known_part};
use aquatint::kernels::random::{Purpose, normal, picture_key};
use aquatint::kernels::sampler_step::{COLUMNS, Operands, SamplerStep, sampler_step};
use aquatint::nn::{BlockType, UNet, UNetConfig};
use aquatint::plan::{Recorder, Step, Storage};
use serde_json::json;

/// Pairs of numbers of variance 1 and this correlation.
const CORRELATION: f64 = 0.8;
/// What the first of a pair is known to be.
const FIRST: f64 = 1.2;

fn scheduler() -> SchedulerConfig {
    let keys = json!({ "_class_name": "DDIMScheduler", "timestep_spacing": "trailing", "clip_sample": false });
    SchedulerConfig::from_json(&keys, "test").unwrap()
}

fn chain(sampler: SamplerName, steps: usize, rest: ChainOptions) -> Chain {
    let options = ChainOptions { sampler: Some(sampler), steps: Some(steps), ..rest };
    Chain::new(&scheduler(), options).unwrap()
}

/// E[eps | x] of pairs.
fn epsilon([a, b]: [f64; 2], [signal, noise]: [f64; 2]) -> [f64; 2] {
    let (own, cross) = (signal * signal + noise * noise, signal * signal * CORRELATION);
    let determinant = own * own - cross * cross;
    [noise * (own * a - cross * b) / determinant, noise * (own * b - cross * a) / determinant]
}

/// Pairs x through a chain that predicts eps, the first of each known or not.
fn through(chain: &Chain, x: &[f64], known: bool) -> Vec<f64> {
    let (len, n) = (x.len(), x.len() / 2);
    let rows = chain.stages().len();
    let [table, output, state] =
        [("table", rows * COLUMNS), ("output", len), ("x", len)].map(|(n, l)| Storage::f32(n, l));
    let [levels, pictures, mask] =
        [("levels", 2 * rows), ("known", len), ("mask", len)].map(|(n, l)| Storage::f32(n, l));
    let shape = [n, 1, 2, 1];
    let record = |asks: bool| {
        let mut r = Recorder::new();
        let (table, x) = (r.input(&table, &[rows, COLUMNS]), r.input(&state, &shape));
        let output = asks.then(|| r.input(&output, &shape));
        let operands =
            Operands { table, output, factors: None, gradient: None, thresholds: None, noise: None, kept: None, x };
        sampler_step(&mut r, SamplerStep { history: 0, ..chain.kernel() }, operands).unwrap();
        r.finish()
    };
    let mut r = Recorder::new();
    let values = [
        r.input(&levels, &[rows, 2]),
        r.input(&pictures, &shape),
        r.input(&mask, &shape[..3]),
        r.input(&state, &shape),
    ];
    known_part(&mut r, Projection::Pixels, values).unwrap();
    let mut host = Host::<f64>::reference();
    let [asks, none, put] = [record(true), record(false), r.finish()].map(|plan| host.load(&plan).unwrap());
    let after = chain.levels_after();
    let table_rows: Vec<f64> = chain.stages().iter().flat_map(|stage| stage.weights.row()).collect();
    host.floats_mut(&table).unwrap().copy_from_slice(&table_rows);
    let level_rows: Vec<f64> = after.iter().flat_map(|level| level.unwrap_or_default()).collect();
    host.floats_mut(&levels).unwrap().copy_from_slice(&level_rows);
    host.floats_mut(&pictures).unwrap().fill(FIRST);
    host.floats_mut(&mask).unwrap().iter_mut().enumerate().for_each(|(i, m)| *m = [1.0, 0.0][i % 2]);
    host.floats_mut(&state).unwrap().copy_from_slice(x);
    for (row, stage) in chain.stages().iter().enumerate() {
        let step = Step { sampler_row: row as u32, sampler_noise: stage.draw as u32, ..Step::seeded(4) };
        if stage.asks {
            let now = host.floats(&state).to_vec();
            let says = now.chunks_exact(2).flat_map(|pair| epsilon([pair[0], pair[1]], stage.level));
            host.floats_mut(&output).unwrap().iter_mut().zip(says).for_each(|(output, says)| *output = says);
            host.run(asks, &step).unwrap();
        } else {
            host.run(none, &step).unwrap();
        }
        if known && after[row].is_some() {
            host.run(put, &step).unwrap();
        }
    }
    host.floats(&state).to_vec()
}

fn noise(len: usize) -> Vec<f64> {
    let key = picture_key([9, 0], Purpose::TestData, 0);
    (0..len).map(|element| normal(key, 0, element)).collect()
}

fn mean_and_variance(numbers: impl Iterator<Item = f64> + Clone) -> [f64; 2] {
    let n = numbers.clone().count() as f64;
    let mean = numbers.clone().sum::<f64>() / n;
    [mean, numbers.map(|x| (x - mean).powi(2)).sum::<f64>() / n]
}

/// Of a pair whose first number is known, the second is normal with mean rho a and variance 1 - rho^2. Putting the known in
/// after every step alone misses that, as RePaint says; taking the steps again and again comes to it.
#[test]
fn what_is_drawn_comes_to_fit_what_is_known() {
    const PAIRS: usize = 5_000;
    let expected = [CORRELATION * FIRST, 1.0 - CORRELATION * CORRELATION];
    let x = noise(2 * PAIRS);
    for sampler in [SamplerName::Ddpm, SamplerName::PredictorCorrector] {
        let errors = [1, 20].map(|times| {
            let rest = ChainOptions { resampling: Resampling { times, jump: None }, ..ChainOptions::default() };
            let drawn = through(&chain(sampler, 100, rest), &x, true);
            assert!(drawn.chunks_exact(2).all(|pair| pair[0] == FIRST), "{sampler:?}");
            let found = mean_and_variance(drawn.chunks_exact(2).map(|pair| pair[1]));
            println!("{sampler:?}, {times} times: mean and variance {found:.3?}, expected {expected:.3?}");
            (found[0] - expected[0]).abs()
        });
        assert!(errors[1] < 0.35 * errors[0], "{sampler:?}: {errors:?}");
        assert!(errors[1] < 0.05, "{sampler:?}: {errors:?}");
    }
}

/// The flow takes x at a level with signal s and noise n to x / sqrt(s^2 V + n^2) sqrt(V), V being the data's variance in a
/// direction: 1 + rho where both of a pair are alike, 1 - rho where they differ.
#[test]
fn edited_pictures_go_where_the_flow_takes_them() {
    let z = noise(2_000);
    for strength in [0.25, 0.5, 0.75, 1.0] {
        let chain = chain(SamplerName::Ddim, 500, ChainOptions { strength: Some(strength), ..ChainOptions::default() });
        assert_eq!(chain.steps(), (500.0 * strength) as usize);
        let [signal, noise] = chain.stages()[0].level;
        let x: Vec<f64> = z.iter().map(|z| signal * FIRST + noise * z).collect();
        let drawn = through(&chain, &x, false);
        for (before, after) in x.chunks_exact(2).zip(drawn.chunks_exact(2)) {
            for (sign, variance) in [(1.0, 1.0 + CORRELATION), (-1.0, 1.0 - CORRELATION)] {
                let part = |pair: &[f64]| pair[0] + sign * pair[1];
                let expected = part(before) * (variance / (signal * signal * variance + noise * noise)).sqrt();
                assert!((part(after) - expected).abs() < 0.03 * expected.abs().max(1.0), "{strength}: {sign}");
            }
        }
    }
}

/// Every sampler of steps begins where its strength says.
#[test]
fn a_strength_leaves_the_last_steps() {
    use clap::ValueEnum;
    for &sampler in SamplerName::value_variants().iter().filter(|sampler| **sampler != SamplerName::Rk45) {
        let of = |strength| chain(sampler, 8, ChainOptions { strength, ..ChainOptions::default() });
        let (whole, part) = (of(None), of(Some(0.5)));
        assert_eq!((whole.steps(), part.steps()), (8, 4), "{sampler:?}");
        let fifth = whole.stages().iter().find(|stage| stage.step == 4).unwrap();
        let first = part.stages()[0];
        assert_eq!((first.timestep, first.level), (fifth.timestep, fifth.level), "{sampler:?}");
    }
}

fn unet() -> UNet {
    let config = UNetConfig {
        sample_size: None,
        in_channels: 3,
        out_channels: 3,
        block_out_channels: vec![8, 8],
        down_block_types: vec![BlockType::DownBlock2D; 2],
        up_block_types: vec![BlockType::UpBlock2D; 2],
        norm_num_groups: Some(4),
        attention_head_dim: None,
        layers_per_block: 1,
        ..UNetConfig::default()
    };
    UNet::new(&config).unwrap()
}

const SIZE: [usize; 2] = [4, 6];
const PIXELS: usize = SIZE[0] * SIZE[1];

/// Pictures of a network with random weights.
fn draw(
    device: &mut dyn Device,
    chain: Chain,
    projection: Option<Projection>,
    batch: usize,
    request: &Request,
) -> Vec<f32> {
    let unet = unet();
    let weights = Storage::f32("weights", unet.parameters().len());
    let options = SamplerOptions { projection, ..SamplerOptions::default() };
    let mut sampler = Sampler::with(&unet, &weights, chain, batch, SIZE, options).unwrap();
    sampler.load(device).unwrap();
    device.upload(&weights, 0, &unet.parameters().initialize(5)).unwrap();
    sampler.sample(device, request, |_, _, _| Ok(())).unwrap()
}

/// Pictures in [-1, 1], all different.
fn pictures(count: usize) -> Vec<f32> {
    (0..count * PIXELS * 3).map(|i| (i as f32 * 0.7).sin()).collect()
}

#[test]
fn what_is_known_stays_with_every_sampler() {
    const COUNT: usize = 3;
    let known = pictures(COUNT);
    // The left half, and all.
    let half: Vec<f32> = (0..COUNT * PIXELS).map(|pixel| if pixel % SIZE[1] < 3 { 1.0 } else { 0.0 }).collect();
    let whole = vec![1.0; COUNT * PIXELS];
    devices::on_each(|device| {
        use SamplerName as S;
        for sampler in [
            S::Ddpm,
            S::Ddim,
            S::DpmSolver,
            S::DpmSolverSde,
            S::UniPc,
            S::Euler,
            S::Heun,
            S::ReverseSde,
            S::StochasticHeun,
            S::PredictorCorrector,
            S::Langevin,
            S::Lcm,
        ] {
            for projection in [Projection::Pixels, Projection::Means(2), Projection::Grey] {
                let mask = if projection == Projection::Pixels { &half } else { &whole };
                let request = Request {
                    count: COUNT,
                    known: Some(Known { pictures: known.clone(), mask: mask.clone() }),
                    ..Request::default()
                };
                let of = |times: usize| ChainOptions {
                    resampling: Resampling { times, jump: Some(2) },
                    corrector_steps: (sampler == S::Langevin).then_some(2),
                    ..ChainOptions::default()
                };
                let again = if matches!(sampler, S::DpmSolver | S::DpmSolverSde | S::UniPc) { 1 } else { 2 };
                let drawn = draw(device, chain(sampler, 4, of(again)), Some(projection), 2, &request);
                let part = |pixels: &[f32]| -> Vec<f32> {
                    match projection {
                        Projection::Pixels => pixels
                            .chunks_exact(3)
                            .zip(mask)
                            .filter(|(_, m)| **m == 1.0)
                            .flat_map(|(p, _)| p.to_vec())
                            .collect(),
                        Projection::Grey => {
                            pixels.chunks_exact(3).map(|p| p.iter().zip(LUMA).map(|(p, w)| p * w).sum()).collect()
                        }
                        Projection::Means(_) => (0..COUNT * 6 * 3)
                            .map(|i| {
                                let (block, channel) = (i / 3, i % 3);
                                let first = block / 6 * PIXELS + block / 3 % 2 * 2 * SIZE[1] + block % 3 * 2;
                                let at = |y: usize, x: usize| pixels[(first + y * SIZE[1] + x) * 3 + channel];
                                0.25 * (at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1))
                            })
                            .collect(),
                    }
                };
                // What a picture's pixels are is not rounded.
                let largest = drawn.iter().fold(1.0, |most: f32, x| most.max(x.abs()));
                let most = if projection == Projection::Pixels { 0.0 } else { 2e-6 * largest };
                let (found, expected) = (part(&drawn), part(&known));
                let error = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(error <= most, "{sampler:?} {projection:?}: {error}");
                assert!(drawn.iter().zip(&known).any(|(a, b)| (a - b).abs() > 0.01), "{sampler:?} {projection:?}");
            }
        }
    });
}

#[test]
fn given_pictures_do_not_depend_on_their_batch() {
    let bits = |data: &[f32]| -> Vec<u32> { data.iter().map(|x| x.to_bits()).collect() };
    devices::on_each(|device| {
        let rest = ChainOptions {
            strength: Some(0.5),
            resampling: Resampling { times: 2, jump: Some(3) },
            ..ChainOptions::default()
        };
        let chain = chain(SamplerName::Ddpm, 8, rest);
        let (given, len) = (pictures(5), PIXELS * 3);
        let mut some = |first: usize, count: usize| {
            let pictures = given[first * len..][..count * len].to_vec();
            let mask = vec![0.5; count * PIXELS];
            let request = Request {
                count,
                first_picture: first as u32,
                begin: Some(pictures.clone()),
                known: Some(Known { pictures, mask }),
                ..Request::default()
            };
            draw(device, chain.clone(), Some(Projection::Pixels), 3, &request)
        };
        let all = some(0, 5);
        let parts = [some(0, 1), some(1, 3), some(4, 1)].concat();
        assert_eq!(bits(&all), bits(&parts));
    });
}

#[test]
fn what_does_not_go_together_is_refused() {
    let unet = unet();
    let weights = Storage::f32("weights", unet.parameters().len());
    let refused = |chain: Chain, projection, request: Request| {
        let options = SamplerOptions { projection, ..SamplerOptions::default() };
        let mut sampler = Sampler::with(&unet, &weights, chain, 1, SIZE, options).unwrap();
        sampler.sample(&mut Host::<f32>::new(), &request, |_, _, _| Ok(())).unwrap_err().to_string()
    };
    let plain = || chain(SamplerName::Ddim, 4, ChainOptions::default());
    let begin = Request { count: 1, begin: Some(pictures(1)), ..Request::default() };
    assert!(refused(plain(), None, begin).contains("strength"));
    let part = || chain(SamplerName::Ddim, 4, ChainOptions { strength: Some(0.5), ..ChainOptions::default() });
    assert!(refused(part(), None, Request { count: 1, ..Request::default() }).contains("strength"));
    let begin = Request { count: 1, begin: Some(vec![0.0; 5]), ..Request::default() };
    assert!(refused(part(), None, begin).contains("5 numbers, expected 72"));
    let known = Known { pictures: pictures(1), mask: vec![1.0; 3] };
    let message =
        refused(plain(), Some(Projection::Grey), Request { count: 1, known: Some(known), ..Request::default() });
    assert!(message.contains("a mask of 3, expected 1 pictures of 72 and 24"), "{message}");
    let options = SamplerOptions { projection: Some(Projection::Means(3)), ..SamplerOptions::default() };
    assert!(Sampler::with(&unet, &weights, plain(), 1, SIZE, options).is_err());
    for (strength, words) in [(0.0, "strength is 0"), (1.5, "strength is 1.5"), (0.1, "0.1 of 4 steps leaves none")] {
        let options = ChainOptions { strength: Some(strength), steps: Some(4), ..ChainOptions::default() };
        let message = Chain::new(&scheduler(), options).unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    }
}
