//! Networks that are to learn more than they know, or less: with a second half of output channels, for what they are to say of the
//! variances, or with one more class, which stands for none.

use super::{UNet, UNetConfig};
use crate::error::{Error, Result};

impl UNet {
    /// The same network with twice as many output channels, and its flat weights made of `weights`: the new channels say
    /// 0, the others what they said.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if more of the network depends on the number of its outputs than its last convolution;
    /// [`Shape`](Error::Shape) if the weights are not this network's.
    pub fn with_twice_the_outputs(&self, weights: &[f32]) -> Result<(Self, Vec<f32>)> {
        if weights.len() != self.parameters().len() {
            let message = format!("{} weights, expected {}", weights.len(), self.parameters().len());
            return Err(Error::Shape { op: "with_twice_the_outputs", message });
        }
        let config = UNetConfig { out_channels: 2 * self.config().out_channels, ..self.config().clone() };
        let grown = Self::new(&config)?;
        let mut flat = vec![0.0; grown.parameters().len()];
        for (new, old) in grown.parameters().iter().zip(self.parameters().iter()) {
            // On a device, outputs are the last of a weight's sizes.
            let (wide, narrow) = (new.device_shape(), old.device_shape());
            let (Some((&outputs, same)), Some((&before, others))) = (wide.split_last(), narrow.split_last()) else {
                continue;
            };
            if same != others || new.name != old.name || before > outputs {
                let (name, found, expected) = (&new.name, &old.shape, &new.shape);
                return Err(Error::input(format!(
                    "{name} is {found:?}, a network with a variance for every channel has {expected:?}; it cannot be grown"
                )));
            }
            let from = weights[old.offset..][..old.len()].chunks_exact(before);
            for (to, from) in flat[new.offset..][..new.len()].chunks_exact_mut(outputs).zip(from) {
                to[..before].copy_from_slice(from);
            }
        }
        Ok((grown, flat))
    }
}

impl UNet {
    /// The same network with the first half of its output channels alone, and its flat weights made of `weights`: what
    /// remains of one that says variances too.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if more of the network depends on the number of its outputs than its last convolution;
    /// [`Shape`](Error::Shape) if the weights are not this network's.
    pub fn with_half_the_outputs(&self, weights: &[f32]) -> Result<(Self, Vec<f32>)> {
        let config = UNetConfig { out_channels: self.config().out_channels / 2, ..self.config().clone() };
        let half = Self::new(&config)?;
        let wrong = |op_message: String| Error::Shape { op: "with_half_the_outputs", message: op_message };
        if weights.len() != self.parameters().len() {
            return Err(wrong(format!("{} weights, expected {}", weights.len(), self.parameters().len())));
        }
        let mut flat = vec![0.0; half.parameters().len()];
        for (new, old) in half.parameters().iter().zip(self.parameters().iter()) {
            // On a device, outputs are the last of a weight's sizes.
            let (narrow, wide) = (new.device_shape(), old.device_shape());
            let (Some((&outputs, same)), Some((&before, others))) = (narrow.split_last(), wide.split_last()) else {
                continue;
            };
            if same != others || new.name != old.name || before < outputs {
                let (name, found, expected) = (&new.name, &old.shape, &new.shape);
                return Err(Error::input(format!(
                    "{name} is {found:?}, a network without variances has {expected:?}; it cannot be cut down"
                )));
            }
            let from = weights[old.offset..][..old.len()].chunks_exact(before);
            for (to, from) in flat[new.offset..][..new.len()].chunks_exact_mut(outputs).zip(from) {
                to.copy_from_slice(&from[..outputs]);
            }
        }
        Ok((half, flat))
    }
}

impl UNet {
    /// The same network with one more class, the last, which stands for none, and its flat weights made of `weights`: the
    /// new class is embedded as the mean of the others, and these say what they said.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if the network has no table of classes; [`Shape`](Error::Shape) if the weights are not this
    /// network's.
    pub fn with_one_more_class(&self, weights: &[f32]) -> Result<(Self, Vec<f32>)> {
        if weights.len() != self.parameters().len() {
            let message = format!("{} weights, expected {}", weights.len(), self.parameters().len());
            return Err(Error::Shape { op: "with_one_more_class", message });
        }
        let (None, Some(classes)) = (self.config().class_embed_type, self.config().num_class_embeds) else {
            return Err(Error::input("the network has no table of classes that one could be added to"));
        };
        let config = UNetConfig {
            num_class_embeds: Some(classes + 1),
            unconditional_class: Some(classes),
            ..self.config().clone()
        };
        let grown = Self::new(&config)?;
        let mut flat = vec![0.0; grown.parameters().len()];
        for (new, old) in grown.parameters().iter().zip(self.parameters().iter()) {
            let (to, from) = (&mut flat[new.offset..][..new.len()], &weights[old.offset..][..old.len()]);
            let (kept, added) = to.split_at_mut(from.len());
            kept.copy_from_slice(from);
            for (column, added) in added.iter_mut().enumerate() {
                let sum: f64 = from.chunks_exact(from.len() / classes).map(|row| f64::from(row[column])).sum();
                *added = (sum / classes as f64) as f32;
            }
        }
        Ok((grown, flat))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Device, Host};
    use crate::nn::Forward;
    use crate::plan::Step;

    #[test]
    fn a_class_more_leaves_the_others_as_they_are() {
        let config = UNetConfig {
            in_channels: 1,
            out_channels: 1,
            block_out_channels: vec![8, 16],
            down_block_types: vec![crate::nn::BlockType::DownBlock2D; 2],
            up_block_types: vec![crate::nn::BlockType::UpBlock2D; 2],
            norm_num_groups: Some(4),
            attention_head_dim: None,
            num_class_embeds: Some(3),
            ..UNetConfig::default()
        };
        let small = UNet::new(&config).unwrap();
        let weights = small.parameters().initialize(1);
        let (large, grown) = small.with_one_more_class(&weights).unwrap();
        assert_eq!((large.config().num_class_embeds, large.config().unconditional_class), (Some(4), Some(3)));
        for (new, old) in large.parameters().iter().zip(small.parameters().iter()) {
            let (new_data, old_data) = (&grown[new.offset..][..new.len()], &weights[old.offset..][..old.len()]);
            assert_eq!((&new.name, &new_data[..old.len()]), (&old.name, old_data));
            if new.name == "class_embedding.weight" {
                let dim = old.len() / 3;
                for column in 0..dim {
                    let mean = (0..3).map(|row| old_data[row * dim + column]).sum::<f32>() / 3.0;
                    assert!((new_data[3 * dim + column] - mean).abs() < 1e-6);
                }
            } else {
                assert_eq!(new.len(), old.len());
            }
        }
        assert!(small.with_one_more_class(&weights[1..]).is_err());
        let without = UNet::new(&UNetConfig { num_class_embeds: None, ..config }).unwrap();
        assert!(without.with_one_more_class(&without.parameters().initialize(1)).is_err());
    }

    #[test]
    fn a_grown_network_predicts_what_it_did_and_says_nothing_of_the_variances() {
        let config = UNetConfig {
            sample_size: None,
            in_channels: 3,
            out_channels: 3,
            block_out_channels: vec![8, 16],
            down_block_types: vec![crate::nn::BlockType::DownBlock2D; 2],
            up_block_types: vec![crate::nn::BlockType::UpBlock2D; 2],
            norm_num_groups: Some(4),
            attention_head_dim: None,
            ..UNetConfig::default()
        };
        let small = UNet::new(&config).unwrap();
        let weights = small.parameters().initialize(1);
        let (large, grown) = small.with_twice_the_outputs(&weights).unwrap();
        let outputs = [(&small, &weights), (&large, &grown)].map(|(unet, weights)| {
            let forward = Forward::new(unet, 2, [4, 6]).unwrap();
            let mut host = Host::<f32>::new();
            let plan = host.load(&forward.plan).unwrap();
            let pictures: Vec<f32> = (0..forward.pictures.len()).map(|i| (i * 37 % 64) as f32 / 32.0 - 1.0).collect();
            host.upload(&forward.weights, 0, weights).unwrap();
            host.upload(&forward.pictures, 0, &pictures).unwrap();
            host.upload(&forward.timesteps, 0, &[3.0, 700.0]).unwrap();
            host.run(plan, &Step::default()).unwrap();
            host.download(&forward.output).unwrap()
        });
        for (narrow, wide) in outputs[0].chunks_exact(3).zip(outputs[1].chunks_exact(6)) {
            assert!(narrow.iter().zip(wide).all(|(a, b)| (a - b).abs() < 1e-5), "{narrow:?} {wide:?}");
            assert_eq!(wide[3..], [0.0; 3]);
        }
        assert!(small.with_twice_the_outputs(&weights[1..]).is_err());
    }
}
