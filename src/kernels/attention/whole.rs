//! Attention with the whole matrix of scores in memory: two matrix products with a softmax between them.

use super::super::matmul::{Matmul, Operand};
use super::super::softmax::softmax;
use super::flash::Sizes;
use crate::error::Result;
use crate::plan::{Recorder, Value};

/// Records the attention of q, k, v that have these sizes.
pub(super) fn record(r: &mut Recorder, sizes: Sizes, [q, k, v]: [Value; 3]) -> Result<Value> {
    let Sizes { pictures, heads, queries, tokens, size } = sizes;
    let channels = sizes.channels();
    let by_head = |tokens: usize| Operand { outer: tokens * channels, inner: size, row: channels, column: 1 };
    let weights = Operand { outer: heads * queries * tokens, inner: queries * tokens, row: tokens, column: 1 };
    let compare = Matmul {
        batches: [pictures, heads],
        a: by_head(queries),
        b: by_head(tokens).transposed(),
        c: weights,
        scale: sizes.scale(),
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
