//! Mixtures of round Gaussians as data, and the best prediction of them as a network's stand-in.

#![allow(dead_code)]

use aquatint::Result;
use aquatint::diffusion::likelihood::{Decoder, LevelPictures, Predictor, PullBack};
use aquatint::diffusion::{NoiseSchedule, PredictionType, Process, SchedulerConfig};
use aquatint::kernels::random::{Purpose, normal, picture_key, threefry2x32, uniform};
use rayon::prelude::*;

/// Parts with weight, mean and deviation. A picture holds groups of as many elements as a mean has, drawn one by one.
#[derive(Clone)]
pub struct Mixture {
    parts: Vec<(f64, Vec<f64>, f64)>,
}

impl Mixture {
    pub fn new(parts: &[(f64, &[f64], f64)]) -> Self {
        Self { parts: parts.iter().map(|(weight, mean, deviation)| (*weight, mean.to_vec(), *deviation)).collect() }
    }

    pub fn is_one(&self) -> bool {
        self.parts.len() == 1
    }

    fn group(&self) -> usize {
        self.parts[0].1.len()
    }

    /// The probability of a group's levels, of which the first and the last take the tails.
    pub fn probability(&self, levels: &[u8]) -> f64 {
        let of = |(weight, mean, deviation): &(f64, Vec<f64>, f64)| {
            let log: f64 = (levels.iter().zip(mean))
                .map(|(&level, &mean)| {
                    -Decoder::Safe.term(f64::from(level) / 127.5 - 1.0, mean, 2.0 * deviation.ln()).value
                })
                .sum();
            weight * log.exp()
        };
        self.parts.iter().map(of).sum()
    }

    /// Pictures of so many elements in levels, and their true negative log-likelihood in bits per dimension.
    pub fn pictures(&self, count: usize, elements: usize) -> (LevelPictures, f64) {
        let group = self.group();
        let mut bytes = Vec::with_capacity(count * elements);
        let mut bits = 0.0;
        for number in 0..count * elements / group {
            let key = picture_key([20_061_107, 1], Purpose::TestData, number as u32);
            let mut left: f64 = uniform(threefry2x32(key, [1, 0])[0]);
            let part = self.parts.iter().find(|part| {
                left -= part.0;
                left < 0.0
            });
            let (_, mean, deviation) = part.unwrap_or(&self.parts[0]);
            let level = |element: usize| {
                let x: f64 = mean[element] + deviation * normal::<f64>(key, 0, element);
                ((x + 1.0) * 127.5).round().clamp(0.0, 255.0) as u8
            };
            let levels: Vec<u8> = (0..group).map(level).collect();
            bits -= self.probability(&levels).log2();
            bytes.extend(levels);
        }
        let numbers = (0..count as u32).collect();
        let pictures = LevelPictures::new([1, elements, 1], bytes, None, numbers).unwrap();
        (pictures, bits / (count * elements) as f64)
    }

    /// What the parts make of a group's x = signal x_0 + noise eps: their shares, the mean and the variance of x_0 in each.
    fn given(&self, x: &[f64], signal: f64, noise: f64) -> Vec<(f64, Vec<f64>, f64)> {
        let logs: Vec<f64> = (self.parts.iter())
            .map(|(weight, mean, deviation)| {
                let variance = (signal * deviation).powi(2) + noise * noise;
                let far: f64 = x.iter().zip(mean).map(|(x, mean)| (x - signal * mean).powi(2)).sum();
                weight.ln() - 0.5 * (far / variance + x.len() as f64 * variance.ln())
            })
            .collect();
        let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logs.iter().map(|log| (log - most).exp()).sum();
        (self.parts.iter().zip(&logs))
            .map(|((_, mean, deviation), log)| {
                let variance = (signal * deviation).powi(2) + noise * noise;
                let gain = signal * deviation * deviation / variance;
                let means = x.iter().zip(mean).map(|(x, mean)| mean + gain * (x - signal * mean)).collect();
                ((log - most).exp() / sum, means, (deviation * noise).powi(2) / variance)
            })
            .collect()
    }

    /// The mean of x_0, given a group's x.
    pub fn best(&self, x: &[f64], signal: f64, noise: f64) -> Vec<f64> {
        let given = self.given(x, signal, noise);
        (0..x.len()).map(|i| given.iter().map(|(share, means, _)| share * means[i]).sum()).collect()
    }

    /// [`best`](Self::best) of a group of one element.
    pub fn best_of_one(&self, x: f64, signal: f64, noise: f64) -> f64 {
        let log = |(weight, mean, deviation): &(f64, Vec<f64>, f64)| {
            let variance = (signal * deviation).powi(2) + noise * noise;
            (weight / variance.sqrt()).ln() - 0.5 * (x - signal * mean[0]).powi(2) / variance
        };
        let most = self.parts.iter().map(log).fold(f64::NEG_INFINITY, f64::max);
        let (mut sum, mut best) = (0.0, 0.0);
        for part in &self.parts {
            let (_, mean, deviation) = part;
            let share = (log(part) - most).exp();
            let gain = signal * deviation * deviation / ((signal * deviation).powi(2) + noise * noise);
            sum += share;
            best += share * (mean[0] + gain * (x - signal * mean[0]));
        }
        best / sum
    }

    /// The covariance of x_0, given a group's x, times a vector.
    fn covariance_times(&self, x: &[f64], signal: f64, noise: f64, v: &[f64]) -> Vec<f64> {
        let (given, best) = (self.given(x, signal, noise), self.best(x, signal, noise));
        let dot = |a: &[f64]| a.iter().zip(v).map(|(a, v)| a * v).sum::<f64>();
        let of = |i: usize| {
            let parts = given.iter().map(|(share, means, variance)| share * (variance * v[i] + means[i] * dot(means)));
            parts.sum::<f64>() - best[i] * dot(&best)
        };
        (0..v.len()).map(of).collect()
    }
}

/// Predicts the mean of x_0 of a mixture in whatever a scheduler's networks predict.
pub struct Optimal {
    pub mixture: Mixture,
    pub prediction: PredictionType,
    /// Signal and noise of each timestep.
    pub levels: Vec<[f64; 2]>,
    pub process: Option<Process>,
    pub batch: usize,
}

/// What an optimal network is given, signal x_0 + noise eps, and what of x_0 and of eps it predicts.
struct Given {
    signal: f64,
    noise: f64,
    of: [f64; 2],
}

impl Optimal {
    pub fn new(mixture: &Mixture, config: &SchedulerConfig) -> Self {
        let schedule = NoiseSchedule::new(config);
        let both = schedule.alphas_cumprod.iter().zip(&schedule.one_minus_alphas_cumprod);
        let levels = both.map(|(signal, noise)| [signal.sqrt(), noise.sqrt()]).collect();
        let (prediction, process) = (config.prediction_type, config.process());
        Self { mixture: mixture.clone(), prediction, levels, process, batch: 2000 }
    }

    fn given(&self, told: f64) -> Given {
        let of =
            |[signal, noise]: [f64; 2]| Given { signal, noise, of: self.prediction.of_x0_and_epsilon(signal, noise) };
        match self.process {
            None => of(self.level(told)),
            Some(process @ (Process::Vp { .. } | Process::SubVp { .. })) => of(process.signal_and_noise(told / 999.0)),
            Some(Process::Ve { .. }) => of([1.0, told]),
            // Karras et al. 2022, eq. 8: what D, the mean of x_0, asks of the network.
            Some(Process::Edm { sigma_data, .. }) => {
                let sigma = (4.0 * told).exp();
                let size = sigma.hypot(sigma_data);
                let [skip, out, input] = [(sigma_data / size).powi(2), sigma * sigma_data / size, 1.0 / size];
                let sign = if self.prediction == PredictionType::VPrediction { -1.0 } else { 1.0 };
                let of = [sign * (1.0 - skip) / out, -sign * skip * sigma / out];
                Given { signal: input, noise: input * sigma, of }
            }
        }
    }

    /// Signal and noise of a timestep; between two, on a line between the logarithms of their ratios.
    fn level(&self, told: f64) -> [f64; 2] {
        let (below, part) = (told.floor(), told.fract());
        let [signal, noise] = self.levels[below as usize];
        if part == 0.0 {
            return [signal, noise];
        }
        let [signal_above, noise_above] = self.levels[below as usize + 1];
        let sigma = ((1.0 - part) * (noise / signal).ln() + part * (noise_above / signal_above).ln()).exp();
        let signal = 1.0 / sigma.hypot(1.0);
        [signal, sigma * signal]
    }
}

impl Predictor for Optimal {
    fn batch(&self) -> usize {
        self.batch
    }

    fn predict(&mut self, x: &[f32], told: &[f32], labels: Option<&[u32]>) -> Result<Vec<f32>> {
        let this = &*self;
        if self.mixture.group() == 1 {
            let elements = x.len() / told.len();
            let output = x.par_chunks(elements).zip(told).flat_map_iter(|(x, &told)| {
                let Given { signal, noise, of: [of_x0, of_noise] } = this.given(f64::from(told));
                x.iter().map(move |&x| {
                    let x = f64::from(x);
                    let best = this.mixture.best_of_one(x, signal, noise);
                    (of_x0 * best + of_noise * (x - signal * best) / noise) as f32
                })
            });
            return Ok(output.collect());
        }
        let nothing = vec![0.0; x.len()];
        Ok(self.pull_back(x, told, labels, &nothing)?.into_iter().next().unwrap())
    }
}

impl PullBack for Optimal {
    fn pull_back(
        &mut self,
        x: &[f32],
        told: &[f32],
        labels: Option<&[u32]>,
        upstream: &[f32],
    ) -> Result<[Vec<f32>; 2]> {
        assert!(labels.is_none() && told.len() <= self.batch);
        let (elements, group) = (x.len() / told.len(), self.mixture.group());
        let (mut output, mut gradient) = (Vec::with_capacity(x.len()), Vec::with_capacity(x.len()));
        let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<f64>>();
        let with_gradient = upstream.iter().any(|&v| v != 0.0);
        for (number, (x, v)) in x.chunks(group).zip(upstream.chunks(group)).enumerate() {
            let Given { signal, noise, of: [of_x0, of_noise] } = self.given(f64::from(told[number * group / elements]));
            let (x, v) = (wide(x), wide(v));
            let best = self.mixture.best(&x, signal, noise);
            output.extend(
                x.iter().zip(&best).map(|(x, best)| (of_x0 * best + of_noise * (x - signal * best) / noise) as f32),
            );
            if with_gradient {
                // The mean's slope is the covariance, signal / noise^2 of it (Efron 2011).
                let slope = self.mixture.covariance_times(&x, signal, noise, &v).into_iter();
                let slope = slope.map(|slope| slope * signal / (noise * noise));
                gradient.extend(
                    slope.zip(&v).map(|(slope, v)| (of_x0 * slope + of_noise * (v - signal * slope) / noise) as f32),
                );
            }
        }
        Ok([output, gradient])
    }
}
