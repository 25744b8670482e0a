//! What a network makes of timesteps and class labels: one vector for each picture.

use super::config::UNetConfig;
use super::config_values::{ClassEmbedType, TimeEmbeddingType};
use super::layers::{Linear, Network};
use super::parameters::{Initial, Layout, ParameterId, Parameters};
use crate::error::{Error, Result};
use crate::kernels::class_embedding::class_embedding;
use crate::kernels::fourier_embedding::fourier_embedding;
use crate::kernels::integers::{floats, indices};
use crate::kernels::silu::silu;
use crate::kernels::timestep_embedding::{SinusoidalEmbedding, timestep_embedding};
use crate::plan::{Value, add};

/// Standard deviation of a Fourier embedding's frequencies.
const FOURIER_SCALE: f32 = 16.0;

/// What timesteps become first.
#[derive(Clone, Debug)]
enum Projection {
    Positional(SinusoidalEmbedding),
    Fourier(ParameterId),
    /// The table, and how many timesteps it has.
    Learned(ParameterId, usize),
}

impl Projection {
    fn new(p: &mut Parameters, config: &UNetConfig) -> Self {
        let dim = config.block_out_channels[0];
        let name = || "time_proj.weight".to_string();
        match (config.time_embedding_type, config.num_train_timesteps) {
            (TimeEmbeddingType::Fourier, _) => {
                Self::Fourier(p.add_fixed(name(), &[dim], Layout::Same, Initial::Normal(FOURIER_SCALE)))
            }
            (TimeEmbeddingType::Learned, Some(count)) => {
                Self::Learned(p.add(name(), &[count, dim], Layout::Same, Initial::Normal(1.0)), count)
            }
            _ => Self::Positional(SinusoidalEmbedding {
                dim,
                flip_sin_to_cos: config.flip_sin_to_cos,
                freq_shift: config.freq_shift,
            }),
        }
    }

    fn channels(&self, config: &UNetConfig) -> usize {
        config.block_out_channels[0] * if matches!(self, Self::Fourier(_)) { 2 } else { 1 }
    }

    /// `[pictures]` to `[pictures, channels]`.
    fn record(&self, net: &mut Network, timesteps: Value) -> Result<Value> {
        match *self {
            Self::Positional(sinusoid) => timestep_embedding(net.r, timesteps, sinusoid),
            Self::Fourier(frequencies) => {
                let frequencies = net.value(frequencies);
                fourier_embedding(net.r, timesteps, frequencies)
            }
            Self::Learned(table, count) => {
                let table = net.value(table);
                let timesteps = indices(net.r, timesteps, count)?;
                class_embedding(net.r, table, timesteps)
            }
        }
    }
}

/// diffusers' `TimestepEmbedding`: two linear layers with SiLU between them.
#[derive(Clone, Debug)]
struct Layers([Linear; 2]);

impl Layers {
    fn new(p: &mut Parameters, name: &str, [inputs, outputs]: [usize; 2]) -> Self {
        Self([
            Linear::new(p, &format!("{name}.linear_1"), [inputs, outputs]),
            Linear::new(p, &format!("{name}.linear_2"), [outputs, outputs]),
        ])
    }

    fn record(&self, net: &mut Network, x: Value) -> Result<Value> {
        let h = self.0[0].record(net, x)?;
        let h = silu(net.r, h)?;
        self.0[1].record(net, h)
    }
}

#[derive(Clone, Debug)]
enum ClassEmbedding {
    Table(ParameterId),
    Timestep(Layers),
    Identity,
}

/// The embedding of timesteps and, for a conditional network, classes.
#[derive(Clone, Debug)]
pub(super) struct Embedding {
    projection: Projection,
    time: Layers,
    class: Option<ClassEmbedding>,
}

impl Embedding {
    pub(super) fn new(p: &mut Parameters, config: &UNetConfig) -> Self {
        let channels = config.embedding_channels();
        let projection = Projection::new(p, config);
        let sizes = [projection.channels(config), channels];
        let time = Layers::new(p, "time_embedding", sizes);
        let class = match (config.class_embed_type, config.num_class_embeds) {
            (None, None) => None,
            (None, Some(classes)) => {
                let shape = [classes, channels];
                let table = p.add("class_embedding.weight".into(), &shape, Layout::Same, Initial::Normal(1.0));
                Some(ClassEmbedding::Table(table))
            }
            (Some(ClassEmbedType::Timestep), _) => {
                Some(ClassEmbedding::Timestep(Layers::new(p, "class_embedding", sizes)))
            }
            (Some(ClassEmbedType::Identity), _) => Some(ClassEmbedding::Identity),
        };
        Self { projection, time, class }
    }

    /// `[pictures, channels]` from timesteps `[pictures]` and, for a conditional network, labels: integers `[pictures]`,
    /// floats if they are embedded as timesteps are, or embeddings `[pictures, channels]`.
    pub(super) fn record(&self, net: &mut Network, timesteps: Value, labels: Option<Value>) -> Result<Value> {
        let h = self.projection.record(net, timesteps)?;
        let h = self.time.record(net, h)?;
        let class = match (&self.class, labels) {
            (None, None) => return Ok(h),
            (Some(ClassEmbedding::Table(table)), Some(labels)) => {
                let table = net.value(*table);
                class_embedding(net.r, table, labels)?
            }
            (Some(ClassEmbedding::Timestep(layers)), Some(labels)) => {
                let labels = floats(net.r, labels)?;
                let class = self.projection.record(net, labels)?;
                layers.record(net, class)?
            }
            (Some(ClassEmbedding::Identity), Some(embeddings)) => embeddings,
            (Some(ClassEmbedding::Identity), None) => {
                let message = "class_embed_type is identity: an embedding of each picture's class is missing";
                return Err(Error::input(message));
            }
            (Some(_), None) => return Err(Error::input("this network has classes: class labels are missing")),
            (None, Some(_)) => {
                return Err(Error::input("this network has no classes, but class labels were given"));
            }
        };
        add(net.r, h, class)
    }
}
