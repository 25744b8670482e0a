//! A classifier of noisy pictures: a U-Net's encoder with attention pooling after it (Dhariwal & Nichol 2021, section 4).

use super::config::UNetConfig;
use super::encoder::Encoder;
use super::layers::{Linear, Network, Norm};
use super::parameters::{Initial, Layout, ParameterId, Parameters};
use super::resnet_block::{Shared, skip_groups};
use crate::error::{Error, Result};
use crate::kernels::activation::Activation;
use crate::kernels::attention::attention;
use crate::kernels::channels::slice_channels;
use crate::kernels::cosine_similarity::cosine_similarity;
use crate::kernels::cross_entropy::cross_entropy;
use crate::kernels::pooling_tokens::pooling_tokens;
use crate::kernels::scale::scale_and_shift;
use crate::plan::Value;

/// A network that says which class a noisy picture is of.
#[derive(Clone, Debug)]
pub struct Classifier {
    config: UNetConfig,
    classes: usize,
    size: [usize; 2],
    parameters: Parameters,
    encoder: Encoder,
    norm_out: Norm,
    pool: AttentionPool,
    head: Linear,
}

/// What the encoder's features and the class scores are recorded as.
#[derive(Clone, Copy, Debug)]
pub struct Classified {
    /// What the scores are made of, `[pictures, channels]`: features that tell pictures apart.
    pub features: Value,
    /// Logarithms of the probabilities, each picture's up to a constant, `[pictures, classes]`.
    pub scores: Value,
}

/// What a gradient in x is of, for each picture.
#[derive(Clone, Copy, Debug)]
pub enum Toward {
    /// log p(label | x), of labels, integers `[pictures]`.
    Classes(Value),
    /// The cosine similarity of its features with these, `[pictures, channels]`.
    Features(Value),
}

/// One attention step whose only query is the pictures' mean.
#[derive(Clone, Debug)]
struct AttentionPool {
    position: ParameterId,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    heads: usize,
}

impl AttentionPool {
    fn new(p: &mut Parameters, pixels: usize, channels: usize, head_channels: Option<usize>) -> Result<Self> {
        let size = head_channels.unwrap_or(channels);
        if size == 0 || !channels.is_multiple_of(size) {
            return Err(Error::input(format!(
                "attention_head_dim is {size}, expected a divisor of the {channels} channels that are pooled"
            )));
        }
        let initial = Initial::Normal((channels as f32).sqrt().recip());
        let position = p.add("pool.position".into(), &[pixels + 1, channels], Layout::Same, initial);
        let mut project = |part: &str| Linear::new(p, &format!("pool.{part}"), [channels; 2]);
        let [to_q, to_k, to_v] = ["to_q", "to_k", "to_v"].map(&mut project);
        Ok(Self { position, to_q, to_k, to_v, heads: channels / size })
    }

    /// `[pictures, height, width, channels]` to `[pictures, channels]`.
    fn record(&self, net: &mut Network, x: Value) -> Result<Value> {
        let [pictures, height, width, channels] = net.r.dims::<4>("attention_pool", x)?;
        let pixels = height * width;
        let x = net.r.reshape(x, &[pictures, pixels, channels])?;
        let position = net.value(self.position);
        let tokens = pooling_tokens(net.r, x, position)?;
        // The first token of every picture: the first channels of all of its tokens in a row.
        let row = net.r.reshape(tokens, &[pictures, (pixels + 1) * channels])?;
        let mean = slice_channels(net.r, row, 0, channels)?;
        let query = self.to_q.record(net, mean)?;
        let query = net.r.reshape(query, &[pictures, 1, channels])?;
        let (keys, values) = (self.to_k.record(net, tokens)?, self.to_v.record(net, tokens)?);
        let pooled = attention(net.r, query, keys, values, self.heads)?;
        net.r.reshape(pooled, &[pictures, channels])
    }
}

impl Classifier {
    /// The classifier whose encoder is that of a configuration, for pictures of its `sample_size`.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if the configuration's numbers do not fit each other, or name no size; if there are fewer
    /// than two classes.
    pub fn new(config: &UNetConfig, classes: usize) -> Result<Self> {
        config.validate("classifier")?;
        let wrong = |message: String| Err(Error::input(format!("classifier: {message}")));
        if !(2..=1 << 16).contains(&classes) {
            return wrong(format!("{classes} classes, expected 2 to 65536"));
        }
        if config.num_class_embeds.is_some() || config.class_embed_type.is_some() {
            return wrong("the encoder is told classes (num_class_embeds, class_embed_type), expected null".into());
        }
        let Some(size) = config.sample_size.map(super::SampleSize::height_width) else {
            return wrong("sample_size is null, expected the pictures' size".into());
        };
        let mut parameters = Parameters::default();
        let p = &mut parameters;
        let channels = config.block_out_channels[config.block_out_channels.len() - 1];
        let encoder = Encoder::new(p, config, &Shared::of(config))?;
        let groups = config.norm_num_groups.unwrap_or_else(|| skip_groups(channels));
        let norm_out = Norm::new(p, "conv_norm_out", channels, groups, config.norm_eps)?.then(Activation::Silu);
        let pixels = size.iter().map(|side| side / config.size_multiple()).product();
        let pool = AttentionPool::new(p, pixels, channels, config.attention_head_dim)?;
        let head = Linear::new(p, "head", [channels, classes]);
        Ok(Self { config: config.clone(), classes, size, parameters, encoder, norm_out, pool, head })
    }

    /// What the encoder was made from.
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// Its classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Numbers in a picture's features.
    pub fn feature_channels(&self) -> usize {
        self.config.block_out_channels[self.config.block_out_channels.len() - 1]
    }

    /// Height and width of its pictures.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Whether it is for pictures of these sizes.
    ///
    /// # Errors
    /// [`Input`](Error::Input) with the sizes that were found and expected.
    pub fn check(&self, height: usize, width: usize, channels: usize) -> Result<()> {
        let ([own_height, own_width], own_channels) = (self.size, self.config.in_channels);
        if [height, width, channels] == [own_height, own_width, own_channels] {
            return Ok(());
        }
        Err(Error::input(format!(
            "the classifier is of pictures of {own_height}x{own_width}x{own_channels}, these are {height}x{width}x{channels}"
        )))
    }

    /// Its parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Records it: x `[pictures, height, width, in_channels]` and timesteps `[pictures]`.
    ///
    /// # Errors
    /// [`Shape`](Error::Shape) if the pictures are not of its size.
    pub fn record(&self, net: &mut Network, x: Value, timesteps: Value) -> Result<Classified> {
        let [_, height, width, _] = net.r.dims("classifier", x)?;
        if [height, width] != self.size {
            let message = format!("pictures of {height}x{width}, expected {}x{}", self.size[0], self.size[1]);
            return Err(Error::Shape { op: "classifier", message });
        }
        let h = self.encoder.record(net, &self.config, [x, timesteps], None)?.h;
        let h = self.norm_out.record(net, h, None)?;
        let features = self.pool.record(net, h)?;
        let scores = self.head.record(net, features)?;
        Ok(Classified { features, scores })
    }

    /// Records it and the gradient in x of what it is drawn toward, times `weights` `[pictures]`.
    ///
    /// # Errors
    /// [`Shape`](Error::Shape) if the pictures are not of its size.
    pub fn record_gradient(
        &self,
        net: &mut Network,
        [x, timesteps]: [Value; 2],
        toward: Toward,
        weights: Value,
    ) -> Result<Value> {
        net.r.require_gradient(x);
        let Classified { features, scores } = self.record(net, x, timesteps)?;
        match toward {
            Toward::Classes(labels) => {
                let losses = cross_entropy(net.r, scores, labels)?;
                // The loss is -log p.
                let minus = scale_and_shift(net.r, weights, -1.0, 0.0);
                net.r.backward(losses, minus)?;
            }
            Toward::Features(others) => {
                let similarity = cosine_similarity(net.r, features, others)?;
                net.r.backward(similarity, weights)?;
            }
        }
        net.r.gradient(x).ok_or_else(|| Error::Device("a classifier's scores do not depend on the picture".into()))
    }
}
