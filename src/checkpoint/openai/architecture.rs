//! Reading a network off the names and sizes of its tensors.

use super::Piece;
use super::blocks::Kind;
use crate::error::{Error, Result};
use crate::nn::TensorSource;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};

/// Groups of all normalisations.
const GROUPS: usize = 32;

/// More blocks than any network's list has.
const MOST_CHILDREN: usize = 1024;

/// A level of the network, finest first.
struct Level {
    channels: usize,
    attends_down: bool,
    attends_up: bool,
}

/// Names the tensors as it finds out what they are.
pub(super) struct Reader<'a> {
    source: &'a dyn TensorSource,
    head: Head,
    pub(super) new_order: bool,
    pieces: HashMap<String, Piece>,
    used: HashSet<String>,
}

/// What is known of the heads of attention.
#[derive(Clone, Copy)]
pub(super) enum Head {
    Channels(usize),
    Number(usize),
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: &'a dyn TensorSource, head: Head, new_order: bool) -> Self {
        Self { source, head, new_order, pieces: HashMap::new(), used: HashSet::new() }
    }

    /// The tensors by diffusers' names.
    pub(super) fn finish(self) -> Result<HashMap<String, Piece>> {
        match self.source.names().filter(|&name| !self.used.contains(name)).min() {
            Some(name) => Err(Error::input(format!("tensor {name} has no place in a network of this kind"))),
            None => Ok(self.pieces),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.source.shape(name).is_some()
    }

    pub(super) fn shape(&self, name: &str) -> Result<&[usize]> {
        self.source.shape(name).ok_or_else(|| Error::input(format!("tensor {name} is missing")))
    }

    /// A size of a tensor that has `sizes` of them.
    pub(super) fn size(&self, name: &str, sizes: usize, axis: usize) -> Result<usize> {
        match self.shape(name)? {
            shape if shape.len() == sizes => Ok(shape[axis]),
            shape => Err(Error::input(format!("tensor {name} has shape {shape:?}, expected {sizes} sizes"))),
        }
    }

    /// Number of children `prefix.0`, `prefix.1` and so on, of which any has parameters.
    fn children(&self, prefix: &str) -> usize {
        let number =
            |name: &str| name.strip_prefix(prefix)?.strip_prefix('.')?.split('.').next()?.parse::<usize>().ok();
        self.source.names().filter_map(number).filter(|&n| n < MOST_CHILDREN).max().map_or(0, |last| last + 1)
    }

    /// The network as diffusers' `config.json`.
    pub(super) fn unet(&mut self, image_size: usize) -> Result<Value> {
        let inputs = self.size("input_blocks.0.0.weight", 4, 1)?;
        let first = self.size("input_blocks.0.0.weight", 4, 0)?;
        let (blocks_in, blocks_out) = (self.children("input_blocks"), self.children("output_blocks"));
        if blocks_out == 0 {
            return Err(Error::input("no output_blocks: this is a classifier, expected a network that predicts noise"));
        }
        let outputs = self.size("out.2.weight", 4, 0)?;
        if inputs == 6 || (outputs != inputs && Some(outputs) != inputs.checked_mul(2)) {
            return Err(Error::input(format!(
                "{inputs} channels to {outputs}: this makes small pictures larger, expected a network that makes pictures"
            )));
        }
        let gap = (1..blocks_in).find(|n| self.kind(&format!("input_blocks.{n}.0")).is_none());
        if let Some(gap) = gap {
            return Err(Error::input(format!(
                "input_blocks.{gap} has no tensors: without convolutions around its poolings (conv_resample=False) \
                 UNet2DModel cannot be this network"
            )));
        }
        let last_child = |reader: &Self, n: usize| {
            let name = format!("output_blocks.{n}");
            let last = reader.children(&name).max(1) - 1;
            (last > 0).then(|| reader.kind(&format!("{name}.{last}"))).flatten()
        };
        let grows = (0..blocks_out).find_map(|n| match last_child(self, n) {
            Some(kind @ (Kind::Upsample | Kind::Residual)) => Some((n, kind)),
            _ => None,
        });
        let (layers, resnet_resampling) = match grows {
            Some((layers, kind)) => (layers, kind == Kind::Residual),
            None => (blocks_out - 1, false),
        };
        if layers == 0 || blocks_out != blocks_in || blocks_out % (layers + 1) != 0 {
            return Err(Error::input(format!(
                "{blocks_in} input_blocks and {blocks_out} output_blocks with {layers} residual blocks at a level, \
                 expected as many of each, a multiple of one more than at a level"
            )));
        }
        let depth = blocks_out / (layers + 1);

        for (from, to) in [
            ("time_embed.0", "time_embedding.linear_1"),
            ("time_embed.2", "time_embedding.linear_2"),
            ("input_blocks.0.0", "conv_in"),
            ("out.0", "conv_norm_out"),
            ("out.2", "conv_out"),
        ] {
            self.layer(from, to)?;
        }
        let classes = self.has("label_emb.weight").then(|| self.size("label_emb.weight", 2, 0)).transpose()?;
        if classes.is_some() {
            self.same("label_emb.weight", "class_embedding.weight")?;
        }

        let mut levels = Vec::new();
        for level in 0..depth {
            let first_block = 1 + level * (layers + 1);
            let attends_down = self.level(("input_blocks", first_block), ("down_blocks", level), layers)?;
            let channels = self.size(&format!("input_blocks.{first_block}.0.out_layers.3.weight"), 4, 0)?;
            if level + 1 < depth {
                let from = format!("input_blocks.{}.0", first_block + layers);
                let to = format!("down_blocks.{level}.downsamplers.0");
                match self.kind(&from) {
                    Some(Kind::Residual) if resnet_resampling => self.residual(&from, &to)?,
                    Some(Kind::Downsample) if !resnet_resampling => {
                        self.layer(&format!("{from}.op"), &format!("{to}.conv"))?;
                    }
                    _ => return Err(Error::input(format!("{from} is not what halves the pictures of a level"))),
                }
            }
            levels.push(Level { channels, attends_down, attends_up: false });
        }
        for level in 0..depth {
            let first_block = level * (layers + 1);
            levels[depth - 1 - level].attends_up =
                self.level(("output_blocks", first_block), ("up_blocks", level), layers + 1)?;
            if level + 1 < depth {
                let name = format!("output_blocks.{}", first_block + layers);
                let from = format!("{name}.{}", self.children(&name).max(1) - 1);
                let to = format!("up_blocks.{level}.upsamplers.0");
                match self.kind(&from) {
                    Some(Kind::Residual) if resnet_resampling => self.residual(&from, &to)?,
                    Some(Kind::Upsample) if !resnet_resampling => {
                        self.layer(&format!("{from}.conv"), &format!("{to}.conv"))?;
                    }
                    _ => return Err(Error::input(format!("{from} is not what doubles the pictures of a level"))),
                }
            }
        }
        self.residual("middle_block.0", "mid_block.resnets.0")?;
        self.attention("middle_block.1", "mid_block.attentions.0")?;
        self.residual("middle_block.2", "mid_block.resnets.1")?;

        let time_channels = self.size("time_embed.0.weight", 2, 1)?;
        let channels: Vec<usize> = levels.iter().map(|level| level.channels).collect();
        if [first, time_channels] != [channels[0]; 2] {
            let finest = channels[0];
            return Err(Error::input(format!(
                "{first} channels come in, {time_channels} tell the time and the finest level has {finest}: UNet2DModel \
                 has as many of each"
            )));
        }
        let scale_shift = Some(self.size("input_blocks.1.0.emb_layers.1.weight", 2, 0)?) == channels[0].checked_mul(2);
        let types = |down: bool| {
            levels.iter().map(move |level| match (down, if down { level.attends_down } else { level.attends_up }) {
                (true, true) => "AttnDownBlock2D",
                (false, true) => "AttnUpBlock2D",
                (true, false) if resnet_resampling => "ResnetDownsampleBlock2D",
                (false, false) if resnet_resampling => "ResnetUpsampleBlock2D",
                (true, false) => "DownBlock2D",
                (false, false) => "UpBlock2D",
            })
        };
        let resampling = if resnet_resampling { "resnet" } else { "conv" };
        Ok(json!({
            "_class_name": "UNet2DModel",
            "sample_size": image_size,
            "in_channels": inputs,
            "out_channels": outputs,
            "block_out_channels": channels,
            "down_block_types": types(true).collect::<Vec<_>>(),
            "up_block_types": types(false).rev().collect::<Vec<_>>(),
            "layers_per_block": layers,
            "attention_head_dim": self.head_channels(&levels)?,
            "norm_num_groups": GROUPS,
            // A middle with scale_shift has this norm in diffusers only if it is asked for.
            "attn_norm_num_groups": scale_shift.then_some(GROUPS),
            "norm_eps": 1e-5,
            "downsample_padding": 1,
            "downsample_type": resampling,
            "upsample_type": resampling,
            "flip_sin_to_cos": true,
            "freq_shift": 0,
            "time_embedding_dim": self.size("time_embed.0.weight", 2, 0)?,
            "act_fn": "silu",
            "resnet_time_scale_shift": if scale_shift { "scale_shift" } else { "default" },
            "num_class_embeds": classes,
        }))
    }

    /// Heads of an attention over so many channels.
    pub(super) fn heads(&self, channels: usize) -> Result<usize> {
        let (flag, number) = match self.head {
            Head::Channels(size) => ("--num-head-channels", size),
            Head::Number(heads) => ("--num-heads", heads),
        };
        match self.head {
            _ if channels == 0 || !channels.is_multiple_of(number) => {
                Err(Error::input(format!("attention over {channels} channels, expected a multiple of {flag} {number}")))
            }
            Head::Channels(size) => Ok(channels / size),
            Head::Number(heads) => Ok(heads),
        }
    }

    /// Channels of a head, which `UNet2DModel` has the same everywhere.
    fn head_channels(&self, levels: &[Level]) -> Result<usize> {
        let attends = levels.iter().filter(|level| level.attends_down || level.attends_up).chain(levels.last());
        let channels: Vec<usize> = attends.map(|level| level.channels).collect();
        let sizes =
            channels.iter().map(|&channels| Ok(channels / self.heads(channels)?)).collect::<Result<Vec<_>>>()?;
        match sizes.iter().all(|size| *size == sizes[0]) {
            true => Ok(sizes[0]),
            false => Err(Error::input(format!(
                "{} heads are of different sizes in attention over {channels:?} channels, but UNet2DModel has one size; \
                 if this network's have one, say --num-head-channels",
                self.heads(channels[0])?
            ))),
        }
    }

    /// A layer's weight and bias.
    pub(super) fn layer(&mut self, from: &str, to: &str) -> Result<()> {
        self.same(&format!("{from}.weight"), &format!("{to}.weight"))?;
        self.same(&format!("{from}.bias"), &format!("{to}.bias"))
    }

    /// A tensor that only has another name.
    fn same(&mut self, from: &str, to: &str) -> Result<()> {
        let shape = self.shape(from)?.to_vec();
        self.piece(from, to.into(), shape, None);
        Ok(())
    }

    pub(super) fn piece(&mut self, from: &str, to: String, shape: Vec<usize>, third: Option<(usize, usize)>) {
        self.used.insert(from.into());
        self.pieces.insert(to, Piece { from: from.into(), shape, third });
    }
}
