//! Attention that never writes the matrix of scores (FlashAttention: Dao et al. 2022, arXiv 2205.14135; its backward
//! passes as in FlashAttention-2: Dao 2023, arXiv 2307.08691): tiles of it are made, used and forgotten, and made again
//! in the backward passes from q, k and the logarithm of each row's sum.

use super::host;
use crate::plan::{Binding, Bindings, Element, Kernel, Real, Recorder, Shader, Sum, Twin, Value, shader};

/// Rows and columns of a tile of scores in the shaders.
const TILE: usize = 64;

/// The sizes of an attention: q and o `[pictures, queries, heads, size]`, k and v `[pictures, tokens, heads, size]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) pictures: usize,
    pub(super) heads: usize,
    pub(super) queries: usize,
    pub(super) tokens: usize,
    pub(super) size: usize,
}

impl Sizes {
    /// Elements from one query or token to the next.
    pub(super) fn channels(&self) -> usize {
        self.heads * self.size
    }

    /// Numbers of which there is one for each query of each head.
    fn rows(&self) -> usize {
        self.pictures * self.queries * self.heads
    }

    /// The factor of q k^T.
    pub(super) fn scale(&self) -> f32 {
        (self.size as f32).sqrt().recip()
    }

    /// q, k, v: what every pass reads.
    fn inputs(&self) -> Vec<Binding> {
        let tokens = self.pictures * self.tokens * self.channels();
        vec![Binding::read(self.rows() * self.size), Binding::read(tokens), Binding::read(tokens)]
    }

    /// And the sum's logarithm, do, delta: what the backward passes read.
    fn backward_inputs(&self) -> Vec<Binding> {
        let more = [self.rows(), self.rows() * self.size, self.rows()].map(Binding::read);
        [&self.inputs()[..], &more].concat()
    }

    fn parameters(&self) -> Vec<u32> {
        let sizes = [self.pictures * self.heads, self.heads, self.queries, self.tokens, self.size];
        [&sizes.map(|size| size as u32)[..], &[self.scale().to_bits()]].concat()
    }

    /// Workgroups, if each has a tile of `rows` rows of a head.
    fn groups(&self, rows: usize) -> usize {
        self.pictures * self.heads * rows.div_ceil(TILE)
    }

    /// Floating-point operations of `products` products of the matrix of scores with a head's channels.
    fn flops(&self, products: usize) -> u64 {
        2 * (products * self.rows() * self.tokens * self.size) as u64
    }

    /// A head's channels of a query or token: `row` counts through pictures, tokens and heads.
    fn vector<'a, T>(&self, x: &'a [T], row: usize) -> &'a [T] {
        &x[row * self.size..][..self.size]
    }

    /// For each query of each head, by its row: the rows of the tokens that it attends to.
    fn each_row(&self) -> impl Iterator<Item = (usize, impl Iterator<Item = usize> + Clone)> {
        let Self { heads, queries, tokens, .. } = *self;
        (0..self.rows()).map(move |row| {
            let (picture, head) = (row / heads / queries, row % heads);
            (row, (0..tokens).map(move |token| (picture * tokens + token) * heads + head))
        })
    }

    /// scale q k^T of one row of q and one of k.
    fn score<T: Real>(&self, q: &[T], k: &[T], row: usize, token: usize) -> T {
        T::from_f32(self.scale()) * dot(self.vector(q, row), self.vector(k, token))
    }
}

fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    a.iter().zip(b).map(|(&a, &b)| a * b).sum()
}

/// y += factor x.
fn add_scaled<T: Real>(y: &mut [T], factor: T, x: &[T]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y += factor * x;
    }
}

/// o = softmax(scale q k^T) v, and the logarithm of each softmax's sum, `[pictures, queries, heads]`.
#[derive(Clone, Copy, Debug)]
struct Forward(Sizes);

impl<T: Real> Twin<T> for Forward {
    fn twin(&self, io: &mut Bindings<T>) {
        let Self(sizes) = self;
        let (q, k, v, o, log_sum) = (io.read(0), io.read(1), io.read(2), io.write(3), io.write(4));
        for (row, tokens) in sizes.each_row() {
            let scores: Vec<T> = tokens.clone().map(|token| sizes.score(q, k, row, token)).collect();
            let largest = scores.iter().copied().fold(T::neg_infinity(), T::max);
            let sum: T = scores.iter().map(|&score| (score - largest).exp()).sum();
            log_sum[row] = largest + sum.ln();
            let o = &mut o[row * sizes.size..][..sizes.size];
            o.fill(T::zero());
            for (token, score) in tokens.zip(scores) {
                add_scaled(o, (score - largest).exp() / sum, sizes.vector(v, token));
            }
        }
    }
}

impl Kernel for Forward {
    fn shader(&self) -> Shader {
        shader!("attention_forward", "grid", "attention")
    }
    fn parameters(&self) -> Vec<u32> {
        self.0.parameters()
    }
    fn bindings(&self) -> Vec<Binding> {
        let outputs = [self.0.rows() * self.0.size, self.0.rows()].map(Binding::write);
        [&self.0.inputs()[..], &outputs].concat()
    }
    fn groups(&self) -> usize {
        self.0.groups(self.0.queries)
    }
    fn flops(&self) -> u64 {
        self.0.flops(2)
    }
    fn host(&self, io: &mut Bindings<f32>) {
        host::forward(&self.0, [io.read(0), io.read(1), io.read(2)], io.write(3), io.write(4));
    }
}

/// delta: the sum over a head's channels of do o, for each query of each head.
#[derive(Clone, Copy, Debug)]
struct Delta(Sizes);

impl<T: Real> Twin<T> for Delta {
    fn twin(&self, io: &mut Bindings<T>) {
        let (o, grad_o, delta) = (io.read(0), io.read(1), io.write(2));
        for (row, delta) in delta.iter_mut().enumerate() {
            *delta = dot(self.0.vector(o, row), self.0.vector(grad_o, row));
        }
    }
}

impl Kernel for Delta {
    fn shader(&self) -> Shader {
        shader!("attention_delta", "grid")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.0.rows() as u32, self.0.size as u32]
    }
    fn bindings(&self) -> Vec<Binding> {
        let read = Binding::read(self.0.rows() * self.0.size);
        vec![read, read, Binding::write(self.0.rows())]
    }
    fn groups(&self) -> usize {
        self.0.rows().div_ceil(64)
    }
    fn host(&self, io: &mut Bindings<f32>) {
        host::delta(self.0.size, io.read(0), io.read(1), io.write(2));
    }
}

/// dq = scale ds k with p = e^(scale q k^T - log_sum) and ds = p (do v^T - delta).
#[derive(Clone, Copy, Debug)]
struct GradQuery(Sizes);

impl<T: Real> Twin<T> for GradQuery {
    fn twin(&self, io: &mut Bindings<T>) {
        let Self(sizes) = self;
        let [q, k, v, log_sum, grad_o, delta] = [0, 1, 2, 3, 4, 5].map(|binding| io.read(binding));
        let grad_q = io.write(6);
        grad_q.fill(T::zero());
        for (row, tokens) in sizes.each_row() {
            for token in tokens {
                let p = (sizes.score(q, k, row, token) - log_sum[row]).exp();
                let ds = p * (dot(sizes.vector(grad_o, row), sizes.vector(v, token)) - delta[row]);
                let factor = T::from_f32(sizes.scale()) * ds;
                add_scaled(&mut grad_q[row * sizes.size..][..sizes.size], factor, sizes.vector(k, token));
            }
        }
    }
}

impl Kernel for GradQuery {
    fn shader(&self) -> Shader {
        shader!("attention_grad_query", "grid", "attention", "attention_backward")
    }
    fn parameters(&self) -> Vec<u32> {
        self.0.parameters()
    }
    fn bindings(&self) -> Vec<Binding> {
        [&self.0.backward_inputs()[..], &[Binding::write(self.0.rows() * self.0.size)]].concat()
    }
    fn groups(&self) -> usize {
        self.0.groups(self.0.queries)
    }
    fn flops(&self) -> u64 {
        self.0.flops(3)
    }
    fn host(&self, io: &mut Bindings<f32>) {
        host::grad_query(&self.0, [0, 1, 2, 3, 4, 5].map(|binding| io.read(binding)), io.write(6));
    }
}

/// dv = p^T do and dk = scale ds^T q.
#[derive(Clone, Copy, Debug)]
struct GradKeyValue(Sizes);

impl<T: Real> Twin<T> for GradKeyValue {
    fn twin(&self, io: &mut Bindings<T>) {
        let Self(sizes) = self;
        let [q, k, v, log_sum, grad_o, delta] = [0, 1, 2, 3, 4, 5].map(|binding| io.read(binding));
        let (grad_k, grad_v) = (io.write(6), io.write(7));
        grad_k.fill(T::zero());
        grad_v.fill(T::zero());
        for (row, tokens) in sizes.each_row() {
            for token in tokens {
                let p = (sizes.score(q, k, row, token) - log_sum[row]).exp();
                let ds = p * (dot(sizes.vector(grad_o, row), sizes.vector(v, token)) - delta[row]);
                let factor = T::from_f32(sizes.scale()) * ds;
                add_scaled(&mut grad_k[token * sizes.size..][..sizes.size], factor, sizes.vector(q, row));
                add_scaled(&mut grad_v[token * sizes.size..][..sizes.size], p, sizes.vector(grad_o, row));
            }
        }
    }
}

impl Kernel for GradKeyValue {
    fn shader(&self) -> Shader {
        shader!("attention_grad_key_value", "grid", "attention", "attention_backward")
    }
    fn parameters(&self) -> Vec<u32> {
        self.0.parameters()
    }
    fn bindings(&self) -> Vec<Binding> {
        let output = Binding::write(self.0.pictures * self.0.tokens * self.0.channels());
        [&self.0.backward_inputs()[..], &[output, output]].concat()
    }
    fn groups(&self) -> usize {
        self.0.groups(self.0.tokens)
    }
    fn flops(&self) -> u64 {
        self.0.flops(4)
    }
    fn host(&self, io: &mut Bindings<f32>) {
        host::grad_key_value(&self.0, [0, 1, 2, 3, 4, 5].map(|binding| io.read(binding)), io.write(6), io.write(7));
    }
}

/// Records kernels that leave what they sum up in `outputs` from one tile to the next, of `rows` rows to walk over: in
/// single precision, since half would round what was summed so far with every tile, and is too small for a sum that
/// is scaled down only in the end.
fn in_single<const N: usize>(
    r: &mut Recorder,
    outputs: [Value; N],
    rows: usize,
    record: impl FnOnce(&mut Recorder, [Value; N]),
) {
    let sums = outputs.map(|output| {
        if r.element(output) == Element::F32 || rows <= TILE {
            return output;
        }
        let shape = r.shape(output).to_vec();
        r.f32(&shape)
    });
    record(r, sums);
    for (sum, output) in sums.into_iter().zip(outputs).filter(|(sum, output)| sum != output) {
        r.call(Sum { len: r.len(output), terms: 1, accumulate: false }, &[sum, sum, output]);
    }
}

/// Records the attention of q, k, v that have these sizes.
pub(super) fn record(r: &mut Recorder, sizes: Sizes, [q, k, v]: [Value; 3]) -> Value {
    let (of_queries, of_tokens) = (r.shape(q).to_vec(), r.shape(k).to_vec());
    let o = r.activation(&of_queries);
    let log_sum = r.f32(&[sizes.pictures, sizes.queries, sizes.heads]);
    in_single(r, [o], sizes.tokens, |r, [o]| r.call(Forward(sizes), &[q, k, v, o, log_sum]));
    r.differentiable(o, &[q, k, v], move |r, grad_o| {
        let delta = r.f32(&[sizes.pictures, sizes.queries, sizes.heads]);
        r.call(Delta(sizes), &[o, grad_o, delta]);
        let inputs = [q, k, v, log_sum, grad_o, delta];
        if let Some(grad_q) = r.new_gradient(q) {
            let record = |r: &mut Recorder, grad_q: [Value; 1]| {
                r.call(GradQuery(sizes), &[&inputs[..], &grad_q].concat());
            };
            in_single(r, [grad_q], sizes.tokens, record);
        }
        if r.needs_gradient(k) || r.needs_gradient(v) {
            // Made together, and so in buffers of their own even where one of them is not wanted or is a parameter's.
            let gradients = [k, v].map(|value| r.value(r.element(value), &of_tokens));
            let record = |r: &mut Recorder, gradients: [Value; 2]| {
                r.call(GradKeyValue(sizes), &[&inputs[..], &gradients].concat());
            };
            in_single(r, gradients, sizes.queries, record);
            r.pass_gradient(k, gradients[0]);
            r.pass_gradient(v, gradients[1]);
        }
        Ok(())
    });
    o
}
