//! The variational bound of pictures (Ho et al. 2020, eq. 5): L_T, every L_{t-1}, L_0.

use super::predictor::{LevelPictures, Predictor};
use super::{ReverseProcess, mean_and_error};
use crate::error::{Error, Result};
use crate::kernels::random::{Purpose, normal_pair, picture_key, threefry2x32, uniform};
use rayon::prelude::*;
use std::f64::consts::LN_2;
use std::ops::Range;

/// How the bound is estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BoundOptions {
    /// Runs of the network for each picture, at least 2: one at the first timestep, the others at one timestep each of as
    /// many stretches of the rest, drawn for each picture. Terms fall about as 1 / t: stretches grow with t, and within
    /// one a timestep is drawn evenly on the scale of logarithms, and divided by how often it is. All timesteps if not
    /// given.
    pub timesteps: Option<usize>,
    /// Makes x_t, and the timesteps that are drawn.
    pub seed: u64,
}

/// The bound, in bits per dimension: its parts add up to the total.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// L_T: how far x_T is from standard normal noise.
    pub prior: f64,
    /// L_1 to L_{T-1}, of the timesteps with indices 1 to T - 1. Where timesteps were drawn, each has the mean of its
    /// stretch.
    pub terms: Vec<f64>,
    /// Their standard errors, over pictures and what was drawn; none of a single picture.
    pub terms_standard_error: Vec<Option<f64>>,
    /// The indices that pictures drew one each of, the first alone and then the terms': single ones where all were taken.
    pub stretches: Vec<Range<usize>>,
    /// L_0: the picture's levels, given x_1.
    pub decoder: f64,
    /// Its standard error, over pictures and drawn noise.
    pub decoder_standard_error: Option<f64>,
    /// All of it.
    pub total: f64,
    /// The total's standard error, over pictures, drawn noise and drawn timesteps; none of a single picture.
    pub standard_error: Option<f64>,
    /// Every picture's total.
    pub of_pictures: Vec<f64>,
}

/// One run of the network: a picture at a timestep.
struct Item {
    picture: usize,
    stretch: usize,
    t: usize,
    /// What the term is multiplied by, so that its mean over the draws is the mean of the stretch.
    correction: f64,
}

/// Timesteps of which each picture takes one: the first alone, and the others in stretches as equal as can be on the
/// scale of logarithms.
fn stretches(timesteps: usize, runs: usize) -> Vec<Range<usize>> {
    let rest = timesteps - 1;
    let parts = (runs - 1).min(rest);
    // None is empty: the first ones are single.
    let end = |part: usize| 1 + part.max((rest as f64).powf(part as f64 / parts.max(1) as f64).round() as usize);
    let end = |part: usize| if part == 0 { 1 } else { end(part) };
    std::iter::once(0..1).chain((0..parts).map(|part| end(part)..end(part + 1))).collect()
}

/// A timestep of a stretch that does not begin with 0, for a number in [0, 1), evenly on the scale of logarithms; and one
/// over the probability of it, times that of all being drawn alike.
fn draw(Range { start, end }: Range<usize>, drawn: f64) -> (usize, f64) {
    if end - start == 1 {
        return (start, 1.0);
    }
    let all = (end as f64 / start as f64).ln();
    let t = ((start as f64 * (drawn * all).exp()) as usize).clamp(start, end - 1);
    let probability = (1.0 / t as f64).ln_1p() / all;
    (t, 1.0 / (probability * (end - start) as f64))
}

/// The bound of the pictures. `watch` is told how many of how many runs of the network are done.
///
/// # Errors
/// [`Input`](Error::Input) where the predictor's output does not fit or is not finite; the predictor's.
pub fn bound(
    process: &ReverseProcess,
    predictor: &mut dyn Predictor,
    pictures: &LevelPictures,
    options: &BoundOptions,
    watch: &mut dyn FnMut(usize, usize),
) -> Result<Bound> {
    let timesteps = process.timesteps();
    let runs = options.timesteps.unwrap_or(timesteps);
    if !(2.min(timesteps)..=timesteps).contains(&runs) {
        return Err(Error::input(format!("{runs} drawn timesteps, expected {} to {timesteps}", 2.min(timesteps))));
    }
    let (elements, channels) = (pictures.elements(), pictures.channels());
    let bits = |nats: f64| nats / (elements as f64 * LN_2);
    let stretches = stretches(timesteps, runs);
    let seed = [options.seed as u32, (options.seed >> 32) as u32];
    let item = |run: usize| {
        let (picture, stretch) = (run / stretches.len(), run % stretches.len());
        let Range { start, end } = stretches[stretch];
        let key = picture_key(seed, Purpose::EvaluationTimestep, pictures.number(picture));
        let drawn: f64 = uniform(threefry2x32(key, [0, stretch as u32])[0]);
        let (t, correction) = draw(start..end, drawn);
        Item { picture, stretch, t, correction }
    };
    // By picture and stretch: the bits of the stretch's timestep.
    let mut found = Vec::with_capacity(pictures.len() * stretches.len());
    let all = pictures.len() * stretches.len();
    let batch = predictor.batch().max(1);
    for first in (0..all).step_by(batch) {
        let items: Vec<Item> = (first..(first + batch).min(all)).map(item).collect();
        let mut x_t = vec![0.0; items.len() * elements];
        x_t.par_chunks_mut(elements).zip(&items).for_each(|(x_t, item)| {
            let [signal, noise] = process.signal_and_noise(item.t);
            let key = picture_key(seed, Purpose::EvaluationNoise, pictures.number(item.picture));
            let normals = (0..).flat_map(|pair| normal_pair::<f64>(key, item.t as u32, pair));
            for ((x_t, x0), normal) in x_t.iter_mut().zip(pictures.levels(item.picture)).zip(normals) {
                *x_t = (signal * x0 + noise * normal) as f32;
            }
        });
        let told: Vec<f32> = items.iter().map(|item| item.t as f32).collect();
        let labels = pictures.labels_of(items.iter().map(|item| item.picture));
        let output = predictor.predict(&x_t, &told, labels.as_deref())?;
        let width = output.len() / items.len();
        let terms = (items.par_iter().zip(x_t.par_chunks(elements)).zip(output.par_chunks(width.max(1))))
            .map(|((item, x_t), output)| {
                let nats = process.term(item.t, pictures.levels(item.picture), x_t, output, channels)?;
                if nats.is_finite() {
                    return Ok(item.correction * bits(nats));
                }
                let t = item.t;
                Err(Error::input(format!("the network's output at timestep {t} is not finite, or its variance is not")))
            })
            .collect::<Result<Vec<f64>>>()?;
        found.extend(terms);
        watch(first + items.len(), all);
        debug_assert!(items.iter().all(|item| stretches[item.stretch].contains(&item.t)));
    }
    let count = pictures.len() as f64;
    let priors: Vec<f64> = (0..pictures.len()).map(|picture| bits(process.prior(pictures.levels(picture)))).collect();
    let of_stretch = |stretch: usize| {
        let of_pictures: Vec<f64> = found.iter().skip(stretch).step_by(stretches.len()).copied().collect();
        mean_and_error(&of_pictures)
    };
    let (decoder, decoder_standard_error) = of_stretch(0);
    let (terms, terms_standard_error) =
        (1..stretches.len()).flat_map(|stretch| vec![of_stretch(stretch); stretches[stretch].len()]).unzip();
    let weighed = |parts: &[f64]| parts.iter().zip(&stretches).map(|(bits, all)| bits * all.len() as f64).sum::<f64>();
    let of_pictures: Vec<f64> =
        priors.iter().zip(found.chunks(stretches.len())).map(|(prior, parts)| prior + weighed(parts)).collect();
    let (total, standard_error) = mean_and_error(&of_pictures);
    let prior = priors.iter().sum::<f64>() / count;
    Ok(Bound {
        prior,
        terms,
        terms_standard_error,
        stretches,
        decoder,
        decoder_standard_error,
        total,
        standard_error,
        of_pictures,
    })
}

#[cfg(test)]
mod tests {
    use super::{draw, stretches};

    #[test]
    fn stretches_are_all_timesteps_once() {
        for (timesteps, runs) in [(1, 1), (2, 2), (7, 2), (7, 3), (7, 7), (1000, 1000), (1000, 50), (1000, 2)] {
            let all = stretches(timesteps, runs);
            assert_eq!(all.len(), runs);
            assert_eq!(all.iter().cloned().flatten().collect::<Vec<_>>(), (0..timesteps).collect::<Vec<_>>());
            assert!(all.iter().all(|stretch| !stretch.is_empty()), "{all:?}");
            let grows = all.windows(2).all(|pair| pair[1].len() + 1 >= pair[0].len());
            assert!(grows, "{all:?}");
        }
    }

    /// Every timestep is drawn, and corrected so that the mean over draws is that of the stretch.
    #[test]
    fn draws_are_unbiased() {
        for stretch in [1..2, 1..7, 3..5, 40..90, 1..1000] {
            let terms = |t: usize| (t as f64).sin() + 2.0;
            let draws = 400_000;
            let all = (0..draws).map(|i| draw(stretch.clone(), (i as f64 + 0.5) / draws as f64));
            let mean = all.map(|(t, correction)| correction * terms(t)).sum::<f64>() / draws as f64;
            let expected = stretch.clone().map(terms).sum::<f64>() / stretch.len() as f64;
            assert!((mean / expected - 1.0).abs() < 2e-3, "{stretch:?}: {mean}, {expected}");
        }
    }
}
