//! The random numbers: Threefry's known answers, the distribution and the independence of the normal noise and of the
//! drawn timesteps, and that a picture's noise does not depend on its batch; on the host and on the GPU. The seeds are
//! fixed, so a test that passes once passes always.

mod devices;

use aquatint::device::{Device, Host};
use aquatint::kernels::forward_process::forward_process;
use aquatint::kernels::levels::{DiscreteLevels, TimestepDraw, levels};
use aquatint::kernels::prediction::PredictionType;
use aquatint::kernels::random::{Purpose, normal_noise, random_bits};
use aquatint::kernels::schedule_tables::TABLES;
use aquatint::kernels::weighting::Weighting;
use aquatint::plan::{Recorder, Step, Storage};

/// Standard deviations that a statistic may be off.
const SIGMAS: f64 = 5.0;

/// Draws normal noise [pictures, elements] into a storage.
fn draw(device: &mut dyn Device, [pictures, elements]: [usize; 2], purpose: Purpose, step: &Step) -> Storage {
    let noise = Storage::f32("noise", pictures * elements);
    let mut r = Recorder::new();
    let value = r.input(&noise, &[pictures, elements]);
    normal_noise(&mut r, value, purpose, 1.0);
    let plan = device.load(&r.finish()).unwrap();
    device.run(plan, step).unwrap();
    noise
}

fn drawn(device: &mut dyn Device, shape: [usize; 2], purpose: Purpose, step: &Step) -> Vec<f32> {
    let noise = draw(device, shape, purpose, step);
    let numbers = device.download(&noise).unwrap();
    device.release(&noise);
    numbers
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|x| x.to_bits()).collect()
}

/// The distribution function of normal numbers, by a series without cancellation (Marsaglia 2004, "Evaluating the
/// normal distribution").
fn normal_cdf(x: f64) -> f64 {
    let (mut sum, mut term, mut n) = (x, x, 1.0);
    while term.abs() > 1e-17 {
        n += 2.0;
        term *= x * x / n;
        sum += term;
    }
    0.5 + sum * (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt()
}

/// The probability that Kolmogorov and Smirnov's statistic is larger than that of these numbers, if they are normal.
fn kolmogorov_smirnov(numbers: &[f32]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let n = sorted.len() as f64;
    let distance = |(i, &x): (usize, &f32)| {
        let expected = normal_cdf(x.into());
        (expected - i as f64 / n).abs().max((expected - (i + 1) as f64 / n).abs())
    };
    let largest = sorted.iter().enumerate().map(distance).fold(0.0, f64::max);
    let lambda = (n.sqrt() + 0.12 + 0.11 / n.sqrt()) * largest;
    let term = |k: i32| f64::from(1 - 2 * ((k - 1) % 2)) * (-2.0 * f64::from(k * k) * lambda * lambda).exp();
    (2.0 * (1..100).map(term).sum::<f64>()).min(1.0)
}

/// Panics unless a statistic is where it is expected, within [`SIGMAS`] of its standard deviations.
fn assert_statistic(what: &str, found: f64, expected: f64, deviation: f64) {
    let sigmas = (found - expected) / deviation;
    println!("{what}: {found:.6}, {sigmas:+.1} sigma");
    assert!(sigmas.abs() <= SIGMAS, "{what}: {found}, {sigmas:+.1} sigma from {expected}");
}

/// Correlation of equally many standard normal numbers.
fn assert_uncorrelated(what: &str, a: &[f32], b: &[f32]) {
    let n = a.len().min(b.len()) as f64;
    let products = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b));
    assert_statistic(what, products.sum::<f64>() / n, 0.0, n.sqrt().recip());
}

fn assert_normal(what: &str, numbers: &[f32], elements: usize) {
    let n = numbers.len() as f64;
    let moment = |about: f64, power: i32| numbers.iter().map(|&x| (f64::from(x) - about).powi(power)).sum::<f64>() / n;
    let mean = moment(0.0, 1);
    let variance = moment(mean, 2);
    assert_statistic(&format!("{what}: mean"), mean, 0.0, n.sqrt().recip());
    assert_statistic(&format!("{what}: variance"), variance, 1.0, (2.0 / n).sqrt());
    assert_statistic(&format!("{what}: skewness"), moment(mean, 3) / variance.powf(1.5), 0.0, (6.0 / n).sqrt());
    assert_statistic(&format!("{what}: kurtosis"), moment(mean, 4) / variance.powi(2), 3.0, (24.0 / n).sqrt());
    for lag in [1, 2, elements] {
        assert_uncorrelated(&format!("{what}: lag {lag}"), numbers, &numbers[lag..]);
    }
    let p = kolmogorov_smirnov(numbers);
    println!("{what}: Kolmogorov-Smirnov p = {p:.3}");
    assert!(p > 1e-4, "{what}: Kolmogorov-Smirnov p = {p:e}");
}

#[test]
fn threefry_gives_the_known_answers_of_random123() {
    let keys = [0, 0, u32::MAX, u32::MAX, 0x1319_8A2E, 0x0370_7344];
    let counters = [0, 0, u32::MAX, u32::MAX, 0x243F_6A88, 0x85A3_08D3];
    let answers = [0x6B20_0159, 0x99BA_4EFE, 0x1CB9_96FC, 0xBB00_2BE7, 0xC492_3A9C, 0x483D_F7A0];
    devices::on_each(|device| {
        let inputs = ["keys", "counters"].map(|name| Storage::u32(name, 6));
        let mut r = Recorder::new();
        let [k, c] = inputs.each_ref().map(|storage| r.input(storage, &[3, 2]));
        let found = random_bits(&mut r, k, c).unwrap();
        let found = r.export("bits", found);
        let plan = device.load(&r.finish()).unwrap();
        device.upload_integers(&inputs[0], 0, &keys).unwrap();
        device.upload_integers(&inputs[1], 0, &counters).unwrap();
        device.run(plan, &Step::default()).unwrap();
        assert_eq!(device.download_integers(&found).unwrap(), answers, "{}", device.description());
    });
}

#[test]
fn noise_is_normal_and_uncorrelated() {
    let step = Step { step: 3, first_picture: 17, ..Step::seeded(0x0123_4567_89AB_CDEF) };
    devices::on_each(|device| {
        let elements = 3 * 32 * 32;
        let numbers = drawn(device, [64, elements], Purpose::InitialNoise, &step);
        assert_normal(&device.description(), &numbers, elements);
    });
}

#[test]
fn four_million_numbers_are_normal() {
    let numbers = drawn(&mut Host::<f32>::new(), [4, 1_000_000], Purpose::TrainingNoise, &Step::seeded(1));
    assert_normal("4 million", &numbers, 1_000_000);
}

#[test]
#[ignore = "long: make test-long"]
fn sixty_million_numbers_are_normal() {
    let numbers = drawn(&mut Host::<f32>::new(), [60, 1_000_000], Purpose::ReverseNoise, &Step::seeded(2));
    assert_normal("60 million", &numbers, 1_000_000);
}

#[test]
fn singles_are_the_doubles_to_4e_6() {
    let step = Step { step: 1, first_picture: 5, ..Step::seeded(2) };
    let (shape, purpose) = ([1000, 1001], Purpose::ReverseNoise);
    let mut reference = Host::<f64>::reference();
    let exact = draw(&mut reference, shape, purpose, &step);
    let exact = reference.floats(&exact);
    devices::on_each(|device| {
        let difference = |(&found, &exact): (&f32, &f64)| (f64::from(found) - exact).abs();
        let found = drawn(device, shape, purpose, &step);
        assert!(found.iter().all(|x| x.is_finite()));
        let worst = found.iter().zip(exact).map(difference).fold(0.0, f64::max);
        println!("{}: {worst:.1e}", device.description());
        assert!(worst <= 4e-6, "{worst:.1e} on {}", device.description());
    });
}

#[test]
fn purposes_pictures_steps_and_seeds_have_streams_of_their_own() {
    let first = Step { step: 10, first_picture: 100, ..Step::seeded(7) };
    let purpose = Purpose::TrainingNoise;
    let streams = [
        ("one", purpose, first),
        ("another purpose", Purpose::InitialNoise, first),
        ("a third purpose", Purpose::ReverseNoise, first),
        ("the next step", purpose, Step { step: 11, ..first }),
        ("the next pictures", purpose, Step { first_picture: 116, ..first }),
        ("another low word of the seed", purpose, Step { seed: [8, 0], ..first }),
        ("another high word of the seed", purpose, Step { seed: [7, 1], ..first }),
    ];
    devices::on_each(|device| {
        let numbers = streams.map(|(name, purpose, step)| (name, drawn(device, [16, 4096], purpose, &step)));
        for (i, (a, left)) in numbers.iter().enumerate() {
            for (b, right) in &numbers[..i] {
                assert_uncorrelated(&format!("{a} and {b}"), left, right);
                // Not a permutation of one another within pairs, either.
                assert_uncorrelated(&format!("{a} and {b}, shifted"), left, &right[1..]);
            }
        }
    });
}

#[test]
fn a_pictures_noise_does_not_depend_on_its_batch() {
    let step = Step { step: 2, first_picture: u32::MAX - 3, ..Step::seeded(11) };
    devices::on_each(|device| {
        // An odd number of elements: the last pair of a picture is cut. The numbers of the pictures wrap around.
        let elements = 77;
        let all = drawn(device, [8, elements], Purpose::InitialNoise, &step);
        let mut parts = Vec::new();
        for pictures in [1, 5, 2] {
            let first_picture = step.first_picture.wrapping_add((parts.len() / elements) as u32);
            let part = Step { first_picture, ..step };
            parts.extend(drawn(device, [pictures, elements], Purpose::InitialNoise, &part));
        }
        assert_eq!(bits(&all), bits(&parts), "{}", device.description());
    });
}

/// What L_simple draws.
const UNIFORM: DiscreteLevels = DiscreteLevels {
    draw: TimestepDraw::Uniform,
    prediction: PredictionType::Epsilon,
    weighting: Weighting::None,
    large_variance: false,
};

#[test]
fn drawn_timesteps_are_uniform_and_the_noise_is_that_of_its_purpose() {
    const TIMESTEPS: usize = 1000;
    const PICTURES: usize = 200_000;
    devices::on_each(|device| {
        let x0 = Storage::f32("x0", PICTURES);
        let mut r = Recorder::new();
        // What the tables hold does not change what is drawn.
        let tables = r.input(&Storage::f32("noise schedule", TABLES * TIMESTEPS), &[TABLES, TIMESTEPS]);
        let value = r.input(&x0, &[PICTURES, 1]);
        let drawn_levels = levels(&mut r, tables, None, PICTURES, UNIFORM).unwrap();
        let noisy = forward_process(&mut r, drawn_levels.levels, value).unwrap();
        let (timesteps, noise) = (r.export("timesteps", drawn_levels.told), r.export("noise", noisy.target));
        let plan = device.load(&r.finish()).unwrap();
        let mut before = Vec::new();
        for number in [0, 1] {
            let step = Step { step: number, first_picture: 9, ..Step::seeded(5) };
            device.run(plan, &step).unwrap();
            let drawn_timesteps = device.download(&timesteps).unwrap();
            let mut counts = [0u32; TIMESTEPS];
            drawn_timesteps.iter().for_each(|&t| counts[t as usize] += 1);
            let expected = (PICTURES / TIMESTEPS) as f64;
            let chi_square: f64 = counts.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum();
            let freedom = (TIMESTEPS - 1) as f64;
            assert_statistic("chi-square of timesteps", chi_square, freedom, (2.0 * freedom).sqrt());

            let standard: Vec<f32> = drawn_timesteps
                .iter()
                .map(|&t| ((f64::from(t) - 499.5) / ((1e6 - 1.0) / 12.0f64).sqrt()) as f32)
                .collect();
            assert_uncorrelated("timesteps of neighbouring pictures", &standard, &standard[1..]);
            let noise = device.download(&noise).unwrap();
            assert_uncorrelated("timesteps and noise", &standard, &noise);
            if number > 0 {
                assert_uncorrelated("timesteps of neighbouring steps", &standard, &before);
            }
            before = standard;
            let alone = drawn(device, [PICTURES, 1], Purpose::TrainingNoise, &step);
            assert_eq!(bits(&noise), bits(&alone), "{}", device.description());
        }
    });
}
