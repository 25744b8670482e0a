//! Distillation: a student learns to do in one step what its teacher does in two (Salimans & Ho 2022), or to say at every
//! level of noise where the teacher's way ends (Song et al. 2023).

mod rows;
mod rules;
mod teacher;

use super::RunConfig;
use crate::diffusion::{PredictionType, SchedulerClass, SchedulerConfig};
use crate::error::Result;
pub use rules::{distilled_scheduler, stages};
use serde::{Deserialize, Serialize};
use serde_json::json;
pub(super) use teacher::{Taught, Teacher};

/// How a student is taught: `method`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum DistillationMethod {
    /// Half of the steps in every stage (Salimans & Ho 2022)
    #[default]
    Progressive,
    /// One step from everywhere on the teacher's way to where it ends (Song et al. 2023)
    Consistency,
}

/// The `[training.distillation]` table, which only runs that distil have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistillationTable {
    /// How.
    pub method: DistillationMethod,
    /// The teacher's folder or file.
    pub teacher: String,
    /// Fingerprint of its weights.
    pub teacher_checksum: String,
    /// What the teacher predicts.
    pub teacher_prediction: PredictionType,
    /// Steps of DDIM from noise to a picture that the teacher takes.
    pub teacher_steps: usize,
    /// Steps that the student draws in: half of the teacher's or, to learn what the teacher knows in another prediction, as
    /// many. With consistency, those that it draws in if nothing else is asked for.
    pub steps: usize,
    /// How much more than by itself a picture's class counts in what the teacher says, `--guidance` of `sample`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guidance: Option<f32>,
}

impl DistillationTable {
    /// What a student of this noise draws with.
    ///
    /// # Errors
    /// [`Input`](crate::Error::Input) naming the key that does not fit.
    pub fn drawing_scheduler(&self, noise: &SchedulerConfig) -> Result<SchedulerConfig> {
        let source = "training.distillation";
        match self.method {
            DistillationMethod::Progressive => {
                noise.as_class(SchedulerClass::Ddim, [("num_inference_steps", json!(self.steps))], source)
            }
            DistillationMethod::Consistency => noise.as_class(
                SchedulerClass::Lcm,
                [
                    ("num_inference_steps", json!(self.steps)),
                    ("original_inference_steps", json!(self.teacher_steps)),
                    // That class does not look at it.
                    ("timestep_spacing", json!("leading")),
                ],
                source,
            ),
        }
    }
}

impl RunConfig {
    /// What the network of a run of this configuration draws with.
    ///
    /// # Errors
    /// As of [`DistillationTable::drawing_scheduler`].
    pub fn drawing_scheduler(&self) -> Result<SchedulerConfig> {
        match &self.training.distillation {
            Some(table) => table.drawing_scheduler(&self.scheduler),
            None => Ok(self.scheduler.clone()),
        }
    }
}
