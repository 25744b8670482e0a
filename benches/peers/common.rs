//! What the Rust peers share: their arguments, the numbers they compute with, timing and output.
use std::time::Instant;

/// The sizes of the block: 64 channels of 32x32 pictures, eight groups.
pub const CHANNELS: usize = 64;
pub const SIZE: usize = 32;
pub const GROUPS: usize = 8;

/// `PROGRAM DEVICE SECONDS CASE...`
pub struct Arguments {
    pub device: String,
    pub seconds: f64,
    pub cases: Vec<String>,
}

pub fn arguments() -> Arguments {
    let mut words = std::env::args().skip(1);
    let (Some(device), Some(Ok(seconds))) = (words.next(), words.next().map(|word| word.parse())) else {
        eprintln!("usage: DEVICE SECONDS CASE...");
        std::process::exit(2);
    };
    Arguments { device, seconds, cases: words.collect() }
}

/// What a case's name asks for.
pub enum Case {
    Matmul { size: usize },
    Convolution { batch: usize, inputs: usize, outputs: usize, height: usize, width: usize },
    BlockForward { batch: usize },
    BlockTrain { batch: usize },
}

/// `None` for what these programs do not have.
pub fn case(name: &str) -> Option<Case> {
    let batch = |word: &str| word.strip_prefix('b')?.parse().ok();
    match name.split('/').collect::<Vec<_>>()[..] {
        ["matmul", size] => Some(Case::Matmul { size: size.parse().ok()? }),
        ["convolution", "forward", shape] => {
            let sizes: Vec<usize> = shape.split(['x', '-']).map(|word| word.parse().ok()).collect::<Option<_>>()?;
            let [batch, height, width, inputs, outputs] = sizes[..] else { return None };
            Some(Case::Convolution { batch, inputs, outputs, height, width })
        }
        ["block", "forward", word] => Some(Case::BlockForward { batch: batch(word)? }),
        ["block", "train", word] => Some(Case::BlockTrain { batch: batch(word)? }),
        _ => None,
    }
}

/// The same numbers in every peer: a hash of the position, uniform in +-scale / 2.
pub fn fill(seed: u32, len: usize, scale: f32) -> Vec<f32> {
    let value = |i: u32| {
        let mut h = i.wrapping_add(seed << 24).wrapping_mul(2654435761);
        h ^= h >> 16;
        h = h.wrapping_mul(2246822519);
        h ^= h >> 13;
        ((h >> 8) as f32 / 16777216.0 - 0.5) * scale
    };
    (0..len as u32).map(value).collect()
}

/// The weights of a 3x3 convolution of the block; its bias has the seed after the weight's.
pub const WEIGHT_SCALE: f32 = 1.0 / 12.0;
/// The seeds of the two convolutions' weights.
pub const WEIGHT_SEEDS: [u32; 2] = [2, 4];

/// The range of a single convolution's weights.
pub fn convolution_scale(inputs: usize) -> f32 {
    2.0 / ((inputs * 9) as f32).sqrt()
}

/// The mean square and the first and the last element.
pub fn ends(values: &[f32]) -> Vec<f64> {
    let squares: f64 = values.iter().map(|&v| f64::from(v).powi(2)).sum();
    vec![squares / values.len() as f64, values[0].into(), values[values.len() - 1].into()]
}

/// The Euclidean norm.
pub fn norm(values: &[f32]) -> f64 {
    values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt()
}

/// Repeats `run` for so many seconds, at least once, after three runs to warm up (one where a run
/// takes longer than that), and prints the line of the case; `check` says what to compare.
pub fn measure<R>(name: &str, seconds: f64, mut run: impl FnMut() -> R, check: impl FnOnce(R) -> Vec<f64>) {
    let mut timed = || {
        let start = Instant::now();
        let result = run();
        (result, start.elapsed().as_secs_f64())
    };
    let (mut result, first) = timed();
    if first < seconds {
        timed();
        timed();
    }
    let (mut times, mut total) = (Vec::new(), 0.0);
    while times.is_empty() || (total < seconds && times.len() < 100) {
        let (latest, time) = timed();
        result = latest;
        times.push(1e3 * time);
        total += time;
    }
    times.sort_by(f64::total_cmp);
    let runs = times.len();
    let median = (times[(runs - 1) / 2] + times[runs / 2]) / 2.0;
    // JSON has no NaN.
    let check: Vec<_> =
        check(result).iter().map(|v| if v.is_finite() { format!("{v:e}") } else { "null".into() }).collect();
    println!(
        "{{\"name\":\"{name}\",\"median_ms\":{median:.4},\"min_ms\":{:.4},\"first_ms\":{:.4},\"runs\":{runs},\
         \"check\":[{}]}}",
        times[0],
        1e3 * first,
        check.join(",")
    );
}
