//! Softmax attention (Vaswani et al. 2017, arXiv 1706.03762, eq. 1) with any number of heads.

use super::matmul::{Matmul, Operand};
use super::softmax::softmax;
use super::{Case, Fill};
use crate::error::{Error, Result};
use crate::plan::{Recorder, Value};

/// softmax(q k^T / sqrt(channels / heads)) v for q, k, v `[pictures, tokens, channels]`; head h owns channels
/// h * channels / heads and following, so that no data is moved.
pub fn attention(r: &mut Recorder, q: Value, k: Value, v: Value, heads: usize) -> Result<Value> {
    let [pictures, queries, channels] = r.dims("attention", q)?;
    let [_, tokens, _] = r.dims("attention", k)?;
    let fits = r.shape(k) == [pictures, tokens, channels] && r.shape(v) == r.shape(k);
    if !fits || heads == 0 || !channels.is_multiple_of(heads) {
        let message = format!("q {:?}, k {:?}, v {:?}, {heads} heads do not fit", r.shape(q), r.shape(k), r.shape(v));
        return Err(Error::Shape { op: "attention", message });
    }
    let size = channels / heads;
    let by_head = |tokens: usize| Operand { outer: tokens * channels, inner: size, row: channels, column: 1 };
    let weights = Operand { outer: heads * queries * tokens, inner: queries * tokens, row: tokens, column: 1 };
    let compare = Matmul {
        batches: [pictures, heads],
        a: by_head(queries),
        b: by_head(tokens).transposed(),
        c: weights,
        scale: (size as f32).sqrt().recip(),
        ..Matmul::dense(queries, tokens, size)
    };
    let scores = compare.product(r, q, k, &[pictures, heads, queries, tokens]);
    let probabilities = softmax(r, scores)?;
    let mix = Matmul {
        batches: [pictures, heads],
        a: weights,
        b: by_head(tokens),
        c: by_head(queries),
        ..Matmul::dense(queries, size, tokens)
    };
    Ok(mix.product(r, probabilities, v, &[pictures, queries, channels]))
}

/// One token, one and several heads, odd sizes, keys other than queries in number, more than one tile.
pub(super) fn cases() -> Vec<Case> {
    [(1, 1, 1, 1, 1), (2, 16, 16, 8, 1), (2, 16, 16, 32, 4), (1, 5, 9, 6, 2), (1, 70, 66, 6, 3)]
        .into_iter()
        .map(|(pictures, queries, tokens, channels, heads)| {
            Case::new(format!("attention/{pictures}x{queries}x{tokens}x{channels}, {heads} heads"))
                .input(&[pictures, queries, channels], Fill::Normal(1.0))
                .input(&[pictures, tokens, channels], Fill::Normal(1.0))
                .input(&[pictures, tokens, channels], Fill::Normal(1.0))
                .records(move |r, v| Ok(vec![attention(r, v[0], v[1], v[2], heads)?]))
        })
        .collect()
}
