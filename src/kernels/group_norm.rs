//! Group normalisation (Wu & He 2018, arXiv 1803.08494), alone or followed by SiLU in the same pass.

use super::product::Scratch;
use super::silu::{silu_of, silu_slope};
use super::sum_rows::sum_rows;
use super::vector::sigmoid;
use super::{Case, Fill, parallel};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Twin, Value, Variant, shader};

/// Pixels that one thread of the element-wise shaders handles.
const PIXELS_PER_THREAD: usize = 8;

/// Pictures of `pixels` x `channels`, the channels in `groups`.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    pictures: usize,
    pixels: usize,
    channels: usize,
    groups: usize,
}

impl Sizes {
    fn len(&self) -> usize {
        self.pictures * self.pixels * self.channels
    }
    fn group_channels(&self) -> usize {
        self.channels / self.groups
    }
    fn parameters(&self) -> Vec<u32> {
        [self.pictures, self.pixels, self.channels, self.groups].map(|size| size as u32).to_vec()
    }
    /// Workgroups of the element-wise shaders.
    fn element_groups(&self) -> usize {
        (self.pictures * self.pixels.div_ceil(PIXELS_PER_THREAD) * self.channels).div_ceil(256)
    }
}

/// Mean and 1 / standard deviation of every group: `[pictures, groups, 2]`.
#[derive(Clone, Copy, Debug)]
struct Statistics {
    sizes: Sizes,
    epsilon: f32,
}

impl<T: Real> Twin<T> for Statistics {
    fn twin(&self, io: &mut Bindings<T>) {
        let (x, statistics) = (io.read(0), io.write(1));
        let Sizes { pixels, channels, groups, .. } = self.sizes;
        let size = self.sizes.group_channels();
        let count = T::from_usize(pixels * size);
        for (index, statistics) in statistics.chunks_exact_mut(2).enumerate() {
            let (picture, group) = (index / groups, index % groups);
            let element = |i: usize| x[(picture * pixels + i / size) * channels + group * size + i % size];
            let mean = (0..pixels * size).map(element).sum::<T>() / count;
            let variance = (0..pixels * size).map(|i| (element(i) - mean).powi(2)).sum::<T>() / count;
            statistics[0] = mean;
            statistics[1] = (variance + T::from_f32(self.epsilon)).sqrt().recip();
        }
    }
}

impl Kernel for Statistics {
    fn shader(&self) -> Shader {
        shader!("group_norm_statistics", "grid", "reduce")
    }
    fn parameters(&self) -> Vec<u32> {
        [self.sizes.parameters(), vec![self.epsilon.to_bits()]].concat()
    }
    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(self.sizes.len()), Binding::write(self.sizes.pictures * self.sizes.groups * 2)]
    }
    fn groups(&self) -> usize {
        self.sizes.pictures * self.sizes.groups
    }
    fn variants(&self) -> Vec<Variant> {
        let mut variants = vec![Variant::new("two passes", self.shader(), self.groups())];
        let size = self.sizes.group_channels();
        if size <= 256 {
            // As many groups at a time as make 16 channels (64 bytes) or a few more.
            let enough = |&norms: &usize| self.sizes.groups.is_multiple_of(norms) && norms * size >= 16;
            let norms = (1..=16).find(enough).unwrap_or(1);
            let lanes = 1usize << (256 / (norms * size)).ilog2();
            let constants = vec![("size", size as f64), ("norms", norms as f64), ("lanes", lanes as f64)];
            let shader = shader!("group_norm_statistics_one_pass", "grid");
            variants.push(Variant { constants, ..Variant::new("one pass", shader, self.groups() / norms) });
        }
        variants
    }
    fn flops(&self) -> u64 {
        4 * self.sizes.len() as u64
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let (x, statistics) = (io.read(0), io.write(1));
        let Sizes { pixels, channels, groups, .. } = self.sizes;
        let size = self.sizes.group_channels();
        let count = (pixels * size) as f32;
        parallel::for_rows(statistics, groups * 2, #[inline(always)] |picture, statistics| {
            let x = &x[picture * pixels * channels..][..pixels * channels];
            let of_group = |sums: &[f32], group: usize| sums[group * size..][..size].iter().sum::<f32>() / count;
            Scratch::with(#[inline(always)] |scratch| {
                let (sums, means) = scratch.take(2 * channels).split_at_mut(channels);
                sums.fill(0.0);
                for x in x.chunks_exact(channels) {
                    sums.iter_mut().zip(x).for_each(|(sum, &x)| *sum += x);
                }
                for (group, means) in means.chunks_exact_mut(size).enumerate() {
                    means.fill(of_group(sums, group));
                }
                sums.fill(0.0);
                for x in x.chunks_exact(channels) {
                    sums.iter_mut().zip(x).zip(&*means).for_each(|((sum, &x), &mean)| *sum += (x - mean) * (x - mean));
                }
                for (group, statistics) in statistics.chunks_exact_mut(2).enumerate() {
                    statistics[0] = means[group * size];
                    statistics[1] = (of_group(sums, group) + self.epsilon).sqrt().recip();
                }
            });
        });
    }
}

/// What the passes after the statistics know of weight and bias, and of what follows.
#[derive(Clone, Copy, Debug)]
struct Affine {
    silu: bool,
    /// Weight and bias are `[pictures, channels]` and not `[channels]`.
    per_picture: bool,
}

impl Affine {
    /// Words of the shaders' uniform block, after the sizes.
    fn parameters(self) -> Vec<u32> {
        vec![self.silu.into(), self.per_picture.into()]
    }
    /// The weight's and the bias's binding.
    fn binding(self, sizes: &Sizes) -> Binding {
        Binding::read(if self.per_picture { sizes.pictures * sizes.channels } else { sizes.channels })
    }
    /// A picture's part of the weight or of the bias.
    #[inline(always)]
    fn of_picture<T>(self, values: &[T], picture: usize, channels: usize) -> &[T] {
        &values[if self.per_picture { picture * channels } else { 0 }..][..channels]
    }
}

/// y = (x - mean) / deviation * weight + bias, then SiLU if asked for.
#[derive(Clone, Copy, Debug)]
struct Apply {
    sizes: Sizes,
    affine: Affine,
}

impl<T: Real> Twin<T> for Apply {
    fn twin(&self, io: &mut Bindings<T>) {
        let (x, statistics, weight, bias, y) = (io.read(0), io.read(1), io.read(2), io.read(3), io.write(4));
        let Sizes { pixels, channels, groups, .. } = self.sizes;
        for i in 0..self.sizes.len() {
            let (picture, channel) = (i / (pixels * channels), i % channels);
            let group = picture * groups + channel / self.sizes.group_channels();
            let [weight, bias] = [weight, bias].map(|all| self.affine.of_picture(all, picture, channels)[channel]);
            let z = (x[i] - statistics[2 * group]) * statistics[2 * group + 1] * weight + bias;
            y[i] = if self.affine.silu { silu_of(z) } else { z };
        }
    }
}

impl Kernel for Apply {
    fn shader(&self) -> Shader {
        shader!("group_norm_apply", "grid", "silu", "group_norm")
    }
    fn parameters(&self) -> Vec<u32> {
        [self.sizes.parameters(), self.affine.parameters()].concat()
    }
    fn bindings(&self) -> Vec<Binding> {
        let Sizes { pictures, groups, .. } = self.sizes;
        let len = self.sizes.len();
        let affine = self.affine.binding(&self.sizes);
        vec![Binding::read(len), Binding::read(pictures * groups * 2), affine, affine, Binding::write(len)]
    }
    fn groups(&self) -> usize {
        self.sizes.element_groups()
    }
    fn flops(&self) -> u64 {
        8 * self.sizes.len() as u64
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let (x, statistics, weight, bias, y) = (io.read(0), io.read(1), io.read(2), io.read(3), io.write(4));
        let picture_len = self.sizes.pixels * self.sizes.channels;
        parallel::for_rows(y, picture_len, #[inline(always)] |picture, y| {
            let channels = self.sizes.channels;
            with_channels(&self.sizes, statistics, picture, #[inline(always)] |means, scales, []| {
            let [weight, bias] = [weight, bias].map(|all| self.affine.of_picture(all, picture, channels));
            scales.iter_mut().zip(weight).for_each(|(scale, &weight)| *scale *= weight);
            let (means, scales) = (&means[..channels], &scales[..channels]);
            let rows = y.chunks_exact_mut(channels).zip(x[picture * picture_len..].chunks_exact(channels));
            for (y, x) in rows {
                for c in 0..channels {
                    let z = (x[c] - means[c]) * scales[c] + bias[c];
                    y[c] = if self.affine.silu { z * sigmoid(z) } else { z };
                }
            }
            });
        });
    }
}

/// Mean and 1 / deviation of one picture, repeated for every channel, and a row for each of `N` more numbers.
#[inline(always)]
fn with_channels<const N: usize>(
    sizes: &Sizes,
    statistics: &[f32],
    picture: usize,
    work: impl FnOnce(&mut [f32], &mut [f32], [&mut [f32]; N]),
) {
    let (channels, size) = (sizes.channels, sizes.group_channels());
    let statistics = &statistics[picture * sizes.groups * 2..][..sizes.groups * 2];
    Scratch::with(#[inline(always)] |scratch| {
        let (means, rest) = scratch.take((2 + N) * channels).split_at_mut(channels);
        let (deviations, mut rest) = rest.split_at_mut(channels);
        for (group, statistics) in statistics.chunks_exact(2).enumerate() {
            means[group * size..][..size].fill(statistics[0]);
            deviations[group * size..][..size].fill(statistics[1]);
        }
        let more = std::array::from_fn(|_| rest.split_off_mut(..channels).unwrap_or_default());
        work(means, deviations, more);
    });
}

/// Sums over the pixels of each picture and channel, of dz and of dz xhat, where dz is the gradient before SiLU and
/// xhat the normalised x: `[pictures, channels]` each. They are the parts of the gradients of bias and weight.
#[derive(Clone, Copy, Debug)]
struct BackwardSums {
    sizes: Sizes,
    affine: Affine,
}

/// The gradient before SiLU.
fn before_silu<T: Real>(silu: bool, xhat: T, weight: T, bias: T, dy: T) -> T {
    if silu { dy * silu_slope(xhat * weight + bias) } else { dy }
}

impl<T: Real> Twin<T> for BackwardSums {
    fn twin(&self, io: &mut Bindings<T>) {
        let (x, statistics, weight, bias, dy) = (io.read(0), io.read(1), io.read(2), io.read(3), io.read(4));
        let (sum_dz, sum_dz_xhat) = (io.write(5), io.write(6));
        let Sizes { pixels, channels, groups, .. } = self.sizes;
        sum_dz.fill(T::zero());
        sum_dz_xhat.fill(T::zero());
        for i in 0..self.sizes.len() {
            let (picture, channel) = (i / (pixels * channels), i % channels);
            let group = picture * groups + channel / self.sizes.group_channels();
            let xhat = (x[i] - statistics[2 * group]) * statistics[2 * group + 1];
            let [weight, bias] = [weight, bias].map(|all| self.affine.of_picture(all, picture, channels)[channel]);
            let dz = before_silu(self.affine.silu, xhat, weight, bias, dy[i]);
            sum_dz[picture * channels + channel] += dz;
            sum_dz_xhat[picture * channels + channel] += dz * xhat;
        }
    }
}

impl Kernel for BackwardSums {
    fn shader(&self) -> Shader {
        shader!("group_norm_backward_sums", "grid", "silu", "group_norm")
    }
    fn parameters(&self) -> Vec<u32> {
        [self.sizes.parameters(), self.affine.parameters()].concat()
    }
    fn bindings(&self) -> Vec<Binding> {
        let Sizes { pictures, channels, groups, .. } = self.sizes;
        let (all, affine) = (Binding::read(self.sizes.len()), self.affine.binding(&self.sizes));
        let sums = Binding::write(pictures * channels);
        vec![all, Binding::read(pictures * groups * 2), affine, affine, all, sums, sums]
    }
    fn groups(&self) -> usize {
        self.sizes.pictures * self.sizes.channels.div_ceil(16)
    }
    fn flops(&self) -> u64 {
        12 * self.sizes.len() as u64
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let (x, statistics, weight, bias, dy) = (io.read(0), io.read(1), io.read(2), io.read(3), io.read(4));
        let (sum_dz, sum_dz_xhat) = (io.write(5), io.write(6));
        let Sizes { pixels, channels, .. } = self.sizes;
        parallel::for_rows2((sum_dz, channels), (sum_dz_xhat, channels), #[inline(always)] |picture, sum_dz, sum_dz_xhat| {
            with_channels(&self.sizes, statistics, picture, #[inline(always)] |means, deviations, []| {
            let (means, deviations) = (&means[..channels], &deviations[..channels]);
            let [weight, bias] = [weight, bias].map(|all| self.affine.of_picture(all, picture, channels));
            let first = picture * pixels * channels;
            let (sum_dz, sum_dz_xhat) = (&mut sum_dz[..channels], &mut sum_dz_xhat[..channels]);
            sum_dz.fill(0.0);
            sum_dz_xhat.fill(0.0);
            let rows = x[first..].chunks_exact(channels).zip(dy[first..].chunks_exact(channels)).take(pixels);
            for (x, dy) in rows {
                for c in 0..channels {
                    let xhat = (x[c] - means[c]) * deviations[c];
                    let dz = if self.affine.silu { dy[c] * slope(xhat * weight[c] + bias[c]) } else { dy[c] };
                    sum_dz[c] += dz;
                    sum_dz_xhat[c] += dz * xhat;
                }
            }
            });
        });
    }
}

/// SiLU's derivative in vector instructions.
#[inline(always)]
fn slope(z: f32) -> f32 {
    let s = sigmoid(z);
    s * (1.0 + z * (1.0 - s))
}

/// dx = (dz weight - (S1 + xhat S2) / count) / deviation, where S1 and S2 are the group's sums of dz weight and of
/// dz weight xhat.
#[derive(Clone, Copy, Debug)]
struct BackwardInput {
    sizes: Sizes,
    affine: Affine,
}

impl BackwardInput {
    /// S1 / count and S2 / count of one group.
    fn group_means<T: Real>(&self, picture: usize, group: usize, weight: &[T], sums: [&[T]; 2]) -> [T; 2] {
        let size = self.sizes.group_channels();
        let count = T::from_usize(self.sizes.pixels * size);
        sums.map(|sums| {
            let term = |channel: usize| sums[picture * self.sizes.channels + channel] * weight[channel];
            (group * size..(group + 1) * size).map(term).sum::<T>() / count
        })
    }
}

impl<T: Real> Twin<T> for BackwardInput {
    fn twin(&self, io: &mut Bindings<T>) {
        let (x, statistics, weight, bias, dy) = (io.read(0), io.read(1), io.read(2), io.read(3), io.read(4));
        let (sums, dx) = ([io.read(5), io.read(6)], io.write(7));
        let Sizes { pictures, pixels, channels, groups } = self.sizes;
        let size = self.sizes.group_channels();
        for picture in 0..pictures {
            let [weight, bias] = [weight, bias].map(|all| self.affine.of_picture(all, picture, channels));
            for group in 0..groups {
                let [mean, deviation] = [0, 1].map(|i| statistics[2 * (picture * groups + group) + i]);
                let [s1, s2] = self.group_means(picture, group, weight, sums);
                for element in 0..pixels * size {
                    let channel = group * size + element % size;
                    let i = (picture * pixels + element / size) * channels + channel;
                    let xhat = (x[i] - mean) * deviation;
                    let dz = before_silu(self.affine.silu, xhat, weight[channel], bias[channel], dy[i]);
                    dx[i] = deviation * (dz * weight[channel] - s1 - xhat * s2);
                }
            }
        }
    }
}

impl Kernel for BackwardInput {
    fn shader(&self) -> Shader {
        shader!("group_norm_backward_input", "grid", "silu", "group_norm")
    }
    fn parameters(&self) -> Vec<u32> {
        [self.sizes.parameters(), self.affine.parameters()].concat()
    }
    fn bindings(&self) -> Vec<Binding> {
        let Sizes { pictures, channels, groups, .. } = self.sizes;
        let (all, affine) = (Binding::read(self.sizes.len()), self.affine.binding(&self.sizes));
        let (statistics, sums) = (Binding::read(pictures * groups * 2), Binding::read(pictures * channels));
        vec![all, statistics, affine, affine, all, sums, sums, Binding::write(self.sizes.len())]
    }
    fn groups(&self) -> usize {
        self.sizes.element_groups()
    }
    fn flops(&self) -> u64 {
        16 * self.sizes.len() as u64
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let (x, statistics, weight, bias, dy) = (io.read(0), io.read(1), io.read(2), io.read(3), io.read(4));
        let (sums, dx) = ([io.read(5), io.read(6)], io.write(7));
        let Sizes { pixels, channels, groups, .. } = self.sizes;
        let size = self.sizes.group_channels();
        parallel::for_rows(dx, pixels * channels, #[inline(always)] |picture, dx| {
            with_channels(&self.sizes, statistics, picture, #[inline(always)] |means, deviations, [s1, s2]| {
            let (means, deviations) = (&means[..channels], &deviations[..channels]);
            let [weight, bias] = [weight, bias].map(|all| self.affine.of_picture(all, picture, channels));
            for group in 0..groups {
                let [of_dz, of_dz_xhat] = self.group_means(picture, group, weight, sums);
                s1[group * size..][..size].fill(of_dz);
                s2[group * size..][..size].fill(of_dz_xhat);
            }
            let (s1, s2) = (&s1[..channels], &s2[..channels]);
            let first = picture * pixels * channels;
            let inputs = x[first..].chunks_exact(channels).zip(dy[first..].chunks_exact(channels));
            for (dx, (x, dy)) in dx.chunks_exact_mut(channels).zip(inputs) {
                for c in 0..channels {
                    let xhat = (x[c] - means[c]) * deviations[c];
                    let dz = if self.affine.silu { dy[c] * slope(xhat * weight[c] + bias[c]) } else { dy[c] };
                    dx[c] = deviations[c] * (dz * weight[c] - s1[c] - xhat * s2[c]);
                }
            }
            });
        });
    }
}

/// What a group normalisation is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupNorm {
    /// Groups that the channels fall into; divides their number.
    pub groups: usize,
    /// Added to the variance.
    pub epsilon: f32,
    /// Applies SiLU in the same pass.
    pub silu: bool,
}

/// Group normalisation of x `[pictures, .., channels]` with weight and bias `[channels]`, or `[pictures, channels]` where
/// every picture has its own.
///
/// # Errors
/// [`Shape`](Error::Shape) if the sizes do not fit together, or the groups do not divide the channels.
pub fn group_norm(r: &mut Recorder, x: Value, weight: Value, bias: Value, norm: GroupNorm) -> Result<Value> {
    let shape = r.shape(x).to_vec();
    let channels = *shape.last().unwrap_or(&0);
    let GroupNorm { groups, epsilon, silu } = norm;
    let divides = groups > 0 && channels.is_multiple_of(groups);
    let per_picture = r.shape(weight).len() == 2;
    let of_weight = [if per_picture { &shape[..1] } else { &[] }, &[channels]].concat();
    if shape.len() < 2 || !divides || r.shape(weight) != of_weight || r.shape(bias) != of_weight {
        let message = format!("x {shape:?}, weight {:?}, {groups} groups do not fit", r.shape(weight));
        return Err(Error::Shape { op: "group_norm", message });
    }
    let affine = Affine { silu, per_picture };
    let (pictures, pixels) = (shape[0], shape[1..shape.len() - 1].iter().product());
    let sizes = Sizes { pictures, pixels, channels, groups };
    let statistics = r.f32(&[pictures, groups, 2]);
    r.call(Statistics { sizes, epsilon }, &[x, statistics]);
    let y = r.activation(&shape);
    r.call(Apply { sizes, affine }, &[x, statistics, weight, bias, y]);
    r.differentiable(y, &[x, weight, bias], move |r, dy| {
        let sum_dz = r.f32(&[pictures, channels]);
        let sum_dz_xhat = r.f32(&[pictures, channels]);
        r.call(BackwardSums { sizes, affine }, &[x, statistics, weight, bias, dy, sum_dz, sum_dz_xhat]);
        for (value, sums) in [(weight, sum_dz_xhat), (bias, sum_dz)] {
            if per_picture {
                r.pass_gradient(value, sums);
            } else if let Some(target) = r.gradient_target(value) {
                sum_rows(r, sums, 1, pictures, channels, target)?;
            }
        }
        if let Some(dx) = r.new_gradient(x) {
            let inputs = [x, statistics, weight, bias, dy, sum_dz, sum_dz_xhat, dx];
            r.call(BackwardInput { sizes, affine }, &inputs);
        }
        Ok(())
    });
    Ok(y)
}

/// One group, as many groups as channels, odd sizes, more than one workgroup, a mean far from zero, weights for each
/// picture.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, shape, groups) in [
        ("one pixel", [1, 1, 1, 3], 1),
        ("two groups", [2, 8, 8, 4], 2),
        ("instance norm", [2, 3, 5, 4], 4),
        ("odd", [3, 7, 5, 21], 3),
        ("many", [2, 17, 16, 24], 8),
        ("wide", [1, 3, 3, 300], 1),
    ] {
        for silu in [false, true] {
            let norm = GroupNorm { groups, epsilon: 1e-5, silu };
            let name = format!("group_norm/{name}{}", if silu { " + silu" } else { "" });
            cases.push(
                Case::new(name)
                    .input(&shape, Fill::Normal(2.0))
                    .input(&[shape[3]], Fill::Normal(1.0))
                    .input(&[shape[3]], Fill::Normal(1.0))
                    .records(move |r, v| Ok(vec![group_norm(r, v[0], v[1], v[2], norm)?])),
            );
        }
    }
    for (name, shape, groups) in [("one pixel", [2, 1, 1, 3], 1), ("odd", [3, 7, 5, 21], 3), ("wide", [2, 3, 3, 300], 2)] {
        for silu in [false, true] {
            let norm = GroupNorm { groups, epsilon: 1e-5, silu };
            cases.push(
                Case::new(format!("group_norm/{name}, weights for each picture{}", if silu { " + silu" } else { "" }))
                    .input(&shape, Fill::Normal(2.0))
                    .input(&[shape[0], shape[3]], Fill::Normal(1.0))
                    .input(&[shape[0], shape[3]], Fill::Normal(1.0))
                    .records(move |r, v| Ok(vec![group_norm(r, v[0], v[1], v[2], norm)?])),
            );
        }
    }
    let norm = GroupNorm { groups: 2, epsilon: 1e-6, silu: true };
    cases.push(
        Case::new("group_norm/mean 100, deviation 1")
            .input(&[2, 6, 6, 4], Fill::Uniform(98.0, 102.0))
            .input(&[4], Fill::Normal(1.0))
            .input(&[4], Fill::Normal(1.0))
            .tolerance(1e-4) // the mean itself has only 24 bits
            .records(move |r, v| Ok(vec![group_norm(r, v[0], v[1], v[2], norm)?])),
    );
    cases
}
