//! The host's attention: blocks of the scores that stay in the cache, made and used by matrix products.

use super::super::block_product::{Matrix, multiply};
use super::super::product::Scratch;
use super::super::softmax::fold;
use super::super::vector::exp;
use super::super::parallel::{self, vectorized};
use super::flash::Sizes;
use rayon::prelude::*;

/// Scores in a block: 128 KiB of them.
const BLOCK: usize = 1 << 15;
/// Rows of what a task writes, at most.
const MOST: usize = 256;

/// Lends `work` two blocks for scores, of this thread's memory.
fn with_scores(work: impl FnOnce(&mut [f32], &mut [f32])) {
    Scratch::with(|a| Scratch::with(|b| work(a.take(BLOCK), b.take(BLOCK))));
}

/// Rows of what a task writes, of `rows` in a picture: many, since the matrix product packs what a task walks over for
/// each task again, but some eight tasks, so that the cores can share them.
fn short(sizes: &Sizes, rows: usize) -> usize {
    (sizes.pictures * rows).div_ceil(8).next_multiple_of(16).clamp(64, MOST)
}

/// Calls `work(picture, first token, a, b)` on the pieces of two outputs that belong to blocks of `rows` of a picture's
/// `tokens` tokens, on all cores.
fn for_blocks(
    [tokens, rows]: [usize; 2],
    (a, a_width): (&mut [f32], usize),
    (b, b_width): (&mut [f32], usize),
    work: impl Fn(usize, usize, &mut [f32], &mut [f32]) + Sync,
) {
    let pictures = a.par_chunks_mut(tokens * a_width).zip(b.par_chunks_mut(tokens * b_width));
    pictures.enumerate().for_each(|(picture, (a, b))| {
        let blocks = a.par_chunks_mut(rows * a_width).zip(b.par_chunks_mut(rows * b_width));
        blocks.enumerate().for_each(|(block, (a, b))| work(picture, block * rows, a, b));
    });
}

impl Sizes {
    /// The rows of a head from a query of a picture on.
    fn queries_at<'a>(&self, x: &'a [f32], picture: usize, query: usize, head: usize) -> Matrix<'a> {
        Matrix::rows(&x[(picture * self.queries + query) * self.channels() + head * self.size..], self.channels())
    }

    /// The rows of a head from a token of a picture on.
    fn tokens_at<'a>(&self, x: &'a [f32], picture: usize, token: usize, head: usize) -> Matrix<'a> {
        Matrix::rows(&x[(picture * self.tokens + token) * self.channels() + head * self.size..], self.channels())
    }
}

pub(super) fn forward(sizes: &Sizes, [q, k, v]: [&[f32]; 3], o: &mut [f32], log_sum: &mut [f32]) {
    let Sizes { heads, size, .. } = *sizes;
    let channels = sizes.channels();
    let short = short(sizes, sizes.queries);
    for_blocks([sizes.queries, short], (o, channels), (log_sum, heads), |picture, query, o, log_sum| {
        let queries = log_sum.len() / heads;
        let long = BLOCK / short;
        with_scores(|scores, _| {
            for head in 0..heads {
                let mut largest = [f32::NEG_INFINITY; MOST];
                let mut sums = [0.0; MOST];
                for token in (0..sizes.tokens).step_by(long) {
                    let tokens = long.min(sizes.tokens - token);
                    let q = sizes.queries_at(q, picture, query, head);
                    let k = sizes.tokens_at(k, picture, token, head);
                    let shape = [queries, tokens, size];
                    multiply((scores, tokens), q, k.transposed(), shape, sizes.scale(), false);
                    let rows = scores.chunks_exact_mut(tokens).zip(o.chunks_mut(channels));
                    vectorized(#[inline(always)] || {
                        for (((scores, o), largest), sum) in rows.zip(&mut largest).zip(&mut sums) {
                            let next = fold(scores, *largest, |a, b| if a > b { a } else { b });
                            for score in scores.iter_mut() {
                                *score = exp(*score - next);
                            }
                            if token > 0 {
                                let shrink = exp(*largest - next);
                                *sum *= shrink;
                                o[head * size..][..size].iter_mut().for_each(|o| *o *= shrink);
                            }
                            *sum += fold(scores, 0.0, |a, b| a + b);
                            *largest = next;
                        }
                    });
                    let v = sizes.tokens_at(v, picture, token, head);
                    let o = (&mut o[head * size..], channels);
                    multiply(o, Matrix::rows(scores, tokens), v, [queries, size, tokens], 1.0, token > 0);
                }
                let rows = o.chunks_mut(channels).zip(log_sum.chunks_mut(heads));
                for (((o, log_sum), largest), sum) in rows.zip(largest).zip(sums) {
                    log_sum[head] = largest + sum.ln();
                    o[head * size..][..size].iter_mut().for_each(|o| *o *= 1.0 / sum);
                }
            }
        });
    });
}

pub(super) fn delta(size: usize, o: &[f32], grad_o: &[f32], delta: &mut [f32]) {
    /// Rows that one task handles.
    const ROWS: usize = 256;
    parallel::for_rows(delta, ROWS, #[inline(always)] |block, delta| {
        for (row, delta) in delta.iter_mut().enumerate() {
            let first = (block * ROWS + row) * size;
            let mut lanes = [0.0; 16];
            for (o, grad_o) in o[first..first + size].chunks(16).zip(grad_o[first..first + size].chunks(16)) {
                for ((lane, o), grad_o) in lanes.iter_mut().zip(o).zip(grad_o) {
                    *lane += o * grad_o;
                }
            }
            *delta = lanes.into_iter().sum();
        }
    });
}

/// From a block of scores to p, and from a block of do v^T to scale ds, `[queries, tokens]`; the queries' statistics begin
/// every `heads` elements.
fn probabilities(scores: &mut [f32], d: &mut [f32], tokens: usize, scale: f32, statistics: [&[f32]; 2], heads: usize) {
    let rows = scores.chunks_exact_mut(tokens).zip(d.chunks_exact_mut(tokens));
    let [log_sum, delta] = statistics.map(|of_query| of_query.iter().step_by(heads));
    vectorized(#[inline(always)] || {
        for (((scores, d), &log_sum), &delta) in rows.zip(log_sum).zip(delta) {
            for (score, d) in scores.iter_mut().zip(d) {
                *score = exp(*score - log_sum);
                *d = scale * *score * (*d - delta);
            }
        }
    });
}

pub(super) fn grad_query(sizes: &Sizes, inputs: [&[f32]; 6], grad_q: &mut [f32]) {
    let [q, k, v, log_sum, grad_o, delta] = inputs;
    let Sizes { heads, size, .. } = *sizes;
    let channels = sizes.channels();
    let (picture_len, short) = (sizes.queries * channels, short(sizes, sizes.queries));
    grad_q.par_chunks_mut(picture_len).enumerate().for_each(|(picture, grad_q)| {
        grad_q.par_chunks_mut(short * channels).enumerate().for_each(|(block, grad_q)| {
            let (query, queries) = (block * short, grad_q.len() / channels);
            let long = BLOCK / short;
            with_scores(|scores, d| {
                for head in 0..heads {
                    let first = (picture * sizes.queries + query) * heads + head;
                    for token in (0..sizes.tokens).step_by(long) {
                        let tokens = long.min(sizes.tokens - token);
                        let queries_at = |x| sizes.queries_at(x, picture, query, head);
                        let tokens_at = |x| sizes.tokens_at(x, picture, token, head);
                        let shape = [queries, tokens, size];
                        let (k, v) = (tokens_at(k), tokens_at(v));
                        multiply((scores, tokens), queries_at(q), k.transposed(), shape, sizes.scale(), false);
                        multiply((d, tokens), queries_at(grad_o), v.transposed(), shape, 1.0, false);
                        let statistics = [&log_sum[first..], &delta[first..]];
                        let blocks = (&mut scores[..queries * tokens], &mut d[..queries * tokens]);
                        probabilities(blocks.0, blocks.1, tokens, sizes.scale(), statistics, heads);
                        let grad_q = (&mut grad_q[head * size..], channels);
                        multiply(grad_q, Matrix::rows(d, tokens), k, [queries, size, tokens], 1.0, token > 0);
                    }
                }
            });
        });
    });
}

pub(super) fn grad_key_value(sizes: &Sizes, inputs: [&[f32]; 6], grad_k: &mut [f32], grad_v: &mut [f32]) {
    let [q, k, v, log_sum, grad_o, delta] = inputs;
    let Sizes { heads, size, .. } = *sizes;
    let channels = sizes.channels();
    let short = short(sizes, sizes.tokens);
    for_blocks([sizes.tokens, short], (grad_k, channels), (grad_v, channels), |picture, token, grad_k, grad_v| {
        let tokens = grad_k.len() / channels;
        let long = BLOCK / short;
        with_scores(|scores, d| {
            for head in 0..heads {
                for query in (0..sizes.queries).step_by(long) {
                    let queries = long.min(sizes.queries - query);
                    let first = (picture * sizes.queries + query) * heads + head;
                    let queries_at = |x| sizes.queries_at(x, picture, query, head);
                    let tokens_at = |x| sizes.tokens_at(x, picture, token, head);
                    let (q, grad_o) = (queries_at(q), queries_at(grad_o));
                    let shape = [queries, tokens, size];
                    multiply((scores, tokens), q, tokens_at(k).transposed(), shape, sizes.scale(), false);
                    multiply((d, tokens), grad_o, tokens_at(v).transposed(), shape, 1.0, false);
                    let statistics = [&log_sum[first..], &delta[first..]];
                    let (scores, d) = (&mut scores[..queries * tokens], &mut d[..queries * tokens]);
                    probabilities(scores, d, tokens, sizes.scale(), statistics, heads);
                    let shape = [tokens, size, queries];
                    let (p, ds) = (Matrix::rows(scores, tokens).transposed(), Matrix::rows(d, tokens).transposed());
                    multiply((&mut grad_v[head * size..], channels), p, grad_o, shape, 1.0, query > 0);
                    multiply((&mut grad_k[head * size..], channels), ds, q, shape, 1.0, query > 0);
                }
            }
        });
    });
}
