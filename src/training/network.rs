//! What a run trains: a network that predicts, or a classifier of noisy pictures.

use super::RunConfig;
use crate::error::{Error, Result};
use crate::nn::{Classifier, Network, Parameters, UNet};
use crate::plan::Value;
use serde::{Deserialize, Serialize};

/// The `[training.classifier]` table, which only runs that train a classifier have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassifierTable {
    /// The classes' names, by label.
    pub class_names: Vec<String>,
    /// Whether it learns pictures as they are, without noise.
    #[serde(default)]
    pub noiseless: bool,
    /// The data set that it is judged by; if not given, every tenth picture of its own, which it does not learn then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<String>,
}

/// The network of a run.
#[derive(Clone, Debug)]
pub enum Trained {
    /// Predicts noise, or what follows from it.
    UNet(Box<UNet>),
    /// Says classes.
    Classifier(Box<Classifier>),
}

impl RunConfig {
    /// The network that a run of this configuration trains.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if the configuration's numbers do not fit each other.
    pub fn network(&self) -> Result<Trained> {
        match &self.training.classifier {
            None => Ok(Trained::UNet(Box::new(UNet::new(&self.unet)?))),
            Some(table) => Ok(Trained::Classifier(Box::new(Classifier::new(&self.unet, table.class_names.len())?))),
        }
    }
}

impl Trained {
    /// Its parameters.
    pub fn parameters(&self) -> &Parameters {
        match self {
            Self::UNet(unet) => unet.parameters(),
            Self::Classifier(classifier) => classifier.parameters(),
        }
    }

    /// The network that draws.
    ///
    /// # Errors
    /// [`Input`](Error::Input) of a classifier.
    pub fn unet(&self) -> Result<&UNet> {
        match self {
            Self::UNet(unet) => Ok(unet),
            Self::Classifier(_) => Err(Error::input("the run trains a classifier, expected a network that draws")),
        }
    }

    /// What labels are below, where the run has labels.
    pub fn classes(&self) -> Option<usize> {
        match self {
            Self::UNet(unet) => unet.config().classes(),
            Self::Classifier(classifier) => Some(classifier.classes()),
        }
    }

    /// Records it: what the loss is made of.
    pub(super) fn record(&self, net: &mut Network, [x, told]: [Value; 2], labels: Option<Value>) -> Result<Value> {
        match self {
            Self::UNet(unet) => unet.record(net, x, told, labels),
            Self::Classifier(classifier) => Ok(classifier.record(net, x, told)?.scores),
        }
    }
}
