//! Softmax attention (Vaswani et al. 2017, arXiv 1706.03762, eq. 1) with any number of heads.

mod flash;
mod host;
mod whole;

use super::{Case, Fill};
use crate::error::{Error, Result};
use crate::plan::{Recorder, Value};
use flash::Sizes;

/// softmax(q k^T / sqrt(channels / heads)) v for q, k, v `[pictures, tokens, channels]`; head h owns channels
/// h * channels / heads and following, so that no data is moved.
///
/// # Errors
/// [`Shape`](Error::Shape) if they do not fit each other.
pub fn attention(r: &mut Recorder, q: Value, k: Value, v: Value, heads: usize) -> Result<Value> {
    let sizes = sizes(r, q, k, v, heads)?;
    if in_tiles(&sizes) { Ok(flash::record(r, sizes, [q, k, v])) } else { whole::record(r, sizes, [q, k, v]) }
}

/// Which of the two forms is recorded. They save different things for the backward pass, so this is decided here, by
/// the sizes alone. Tiles cost half as many multiplications again in training (nine products of the scores with a head's
/// channels instead of six) and spare every pass over the scores in memory. For heads of up to 64 channels those passes
/// weigh as much: software Vulkan trains 0.96 to 6.7 times as fast in tiles, the host 0.7 to 1.3 times. For larger heads the
/// whole matrix is faster, up to 1.5 times, but from eight tokens a channel on it is several times as large as all else.
fn in_tiles(sizes: &Sizes) -> bool {
    sizes.size <= 64 || sizes.tokens >= 8 * sizes.size
}

fn sizes(r: &Recorder, q: Value, k: Value, v: Value, heads: usize) -> Result<Sizes> {
    let [pictures, queries, channels] = r.dims("attention", q)?;
    let [_, tokens, _] = r.dims("attention", k)?;
    let fits = r.shape(k) == [pictures, tokens, channels] && r.shape(v) == r.shape(k);
    if !fits || heads == 0 || !channels.is_multiple_of(heads) {
        let message = format!("q {:?}, k {:?}, v {:?}, {heads} heads do not fit", r.shape(q), r.shape(k), r.shape(v));
        return Err(Error::Shape { op: "attention", message });
    }
    Ok(Sizes { pictures, heads, queries, tokens, size: channels / heads })
}

type Form = fn(&mut Recorder, Sizes, [Value; 3]) -> Result<Value>;

/// Each form: one token, one and several heads, odd sizes, keys other than queries in number, more than one tile of
/// queries, keys and channels.
pub(super) fn cases() -> Vec<Case> {
    let shapes = [
        (1, 1, 1, 1, 1),
        (2, 16, 16, 8, 1),
        (2, 16, 16, 32, 4),
        (1, 5, 9, 6, 2),
        (1, 70, 66, 6, 3),
        (2, 67, 130, 40, 1),
        (1, 130, 65, 128, 2),
        (1, 9, 7, 256, 1),
        (1, 3, 70, 520, 1),
    ];
    let forms: [(&str, Form, usize); 2] =
        [("whole", whole::record, 5), ("tiles", |r, s, v| Ok(flash::record(r, s, v)), shapes.len())];
    let mut cases = Vec::new();
    for (name, record, count) in forms {
        for &(pictures, queries, tokens, channels, heads) in &shapes[..count] {
            cases.push(
                Case::new(format!("attention/{name}, {pictures}x{queries}x{tokens}x{channels}, {heads} heads"))
                    .input(&[pictures, queries, channels], Fill::Normal(1.0))
                    .input(&[pictures, tokens, channels], Fill::Normal(1.0))
                    .input(&[pictures, tokens, channels], Fill::Normal(1.0))
                    .records(move |r, v| {
                        let sizes = sizes(r, v[0], v[1], v[2], heads)?;
                        Ok(vec![record(r, sizes, [v[0], v[1], v[2]])?])
                    }),
            );
        }
        // Exact scores whose exponentials are not finite and whose largest comes late or early.
        let rising = (0..67u8).map(|i| f32::from(i) - 33.0).collect::<Vec<_>>();
        let falling = rising.iter().rev().copied().collect::<Vec<_>>();
        for (way, keys) in [("rising", rising), ("falling", falling)] {
            cases.push(
                Case::new(format!("attention/{name}, large scores, {way}"))
                    .constant(&[1, 3, 1], Fill::Floats(vec![3.5, -2.0, 0.5]))
                    .constant(&[1, 600, 1], Fill::Floats(keys))
                    .input(&[1, 600, 1], Fill::Normal(1.0))
                    .records(move |r, v| {
                        let sizes = sizes(r, v[0], v[1], v[2], 1)?;
                        Ok(vec![record(r, sizes, [v[0], v[1], v[2]])?])
                    }),
            );
        }
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Storage;

    /// Bytes of the activations of a forward and backward pass.
    fn activations(tokens: usize) -> u64 {
        let mut r = Recorder::new();
        let shape = [1, tokens, 64];
        let inputs = ["q", "k", "v"].map(|name| r.input(&Storage::f32(name, tokens * 64), &shape));
        inputs.iter().for_each(|&input| r.require_gradient(input));
        let [q, k, v] = inputs;
        let o = attention(&mut r, q, k, v, 1).unwrap();
        let upstream = r.input(&Storage::f32("upstream", tokens * 64), &shape);
        r.backward(o, upstream).unwrap();
        r.finish().memory().activations
    }

    #[test]
    fn the_memory_of_long_sequences_is_linear() {
        let [once, twice] = [4096, 8192].map(activations);
        assert_eq!(twice, 2 * once);
        // o and three gradients, two numbers a query.
        assert!(once <= 4 * 4096 * (4 * 64 + 2), "{once} bytes");
    }
}
