//! The blocks of OpenAI's networks.

use super::architecture::Reader;
use crate::error::{Error, Result};

/// What a block of the network's lists is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Residual,
    Attention,
    Downsample,
    Upsample,
}

impl Reader<'_> {
    pub(super) fn kind(&self, name: &str) -> Option<Kind> {
        let kinds = [
            ("in_layers.0.weight", Kind::Residual),
            ("qkv.weight", Kind::Attention),
            ("op.weight", Kind::Downsample),
            ("conv.weight", Kind::Upsample),
        ];
        kinds.iter().find(|(inner, _)| self.has(&format!("{name}.{inner}"))).map(|(_, kind)| *kind)
    }

    /// The residual blocks of a level, and whether they have attention after them, which all or none have.
    pub(super) fn level(
        &mut self,
        (from, first): (&str, usize),
        (to, level): (&str, usize),
        layers: usize,
    ) -> Result<bool> {
        let has_attention = |reader: &Self, block: usize| reader.has(&format!("{from}.{block}.1.qkv.weight"));
        let attends = has_attention(self, first);
        for layer in 0..layers {
            let block = first + layer;
            self.residual(&format!("{from}.{block}.0"), &format!("{to}.{level}.resnets.{layer}"))?;
            if has_attention(self, block) != attends {
                return Err(Error::input(format!(
                    "{from}.{first} and {from}.{block}: one has attention and the other has not; in UNet2DModel all of \
                     a level have"
                )));
            }
            if attends {
                self.attention(&format!("{from}.{block}.1"), &format!("{to}.{level}.attentions.{layer}"))?;
            }
        }
        Ok(attends)
    }

    pub(super) fn residual(&mut self, from: &str, to: &str) -> Result<()> {
        for (inner, name) in [
            ("in_layers.0", "norm1"),
            ("in_layers.2", "conv1"),
            ("emb_layers.1", "time_emb_proj"),
            ("out_layers.0", "norm2"),
            ("out_layers.3", "conv2"),
        ] {
            self.layer(&format!("{from}.{inner}"), &format!("{to}.{name}"))?;
        }
        if self.has(&format!("{from}.skip_connection.weight")) {
            self.layer(&format!("{from}.skip_connection"), &format!("{to}.conv_shortcut"))?;
        }
        Ok(())
    }

    pub(super) fn attention(&mut self, from: &str, to: &str) -> Result<()> {
        self.layer(&format!("{from}.norm"), &format!("{to}.group_norm"))?;
        let channels = self.size(&format!("{from}.norm.weight"), 1, 0)?;
        for (inner, factor) in [("qkv", 3), ("proj_out", 1)] {
            let outputs = channels.saturating_mul(factor);
            for (kind, expected) in [("weight", &[outputs, channels, 1][..]), ("bias", &[outputs][..])] {
                let name = format!("{from}.{inner}.{kind}");
                let found = self.shape(&name)?;
                // A 1x1 convolution over a row of pixels; some files have it without its last size.
                if found != expected && (kind == "bias" || found != &expected[..2]) {
                    return Err(Error::input(format!("tensor {name} has shape {found:?}, expected {expected:?}")));
                }
                let shape = if kind == "weight" { vec![channels, channels] } else { vec![channels] };
                if inner == "proj_out" {
                    self.piece(&name, format!("{to}.to_out.0.{kind}"), shape, None);
                    continue;
                }
                let groups = if self.new_order { 1 } else { self.heads(channels)? };
                for (third, letter) in ["q", "k", "v"].into_iter().enumerate() {
                    self.piece(&name, format!("{to}.to_{letter}.{kind}"), shape.clone(), Some((third, groups)));
                }
            }
        }
        Ok(())
    }
}
