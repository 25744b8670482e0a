//! What diffusers can do with a model's scheduler.

use super::{PredictionType, SchedulerClass, SchedulerConfig};

impl SchedulerConfig {
    /// The pipeline of diffusers that draws rightly with it, if there is one. `DDPMPipeline` scales nothing for the network, as
    /// Euler's, Heun's and Karras et al.'s methods need it, and steps by a method that `ScoreSdeVpScheduler` has not got, and
    /// with a generator that `UniPCMultistepScheduler` does not take;
    /// `ScoreSdeVePipeline` takes what a network says for a score.
    pub fn pipeline(&self) -> Option<&'static str> {
        match self.class {
            SchedulerClass::Ddpm | SchedulerClass::DpmSolverMultistep | SchedulerClass::Lcm => Some("DDPMPipeline"),
            SchedulerClass::Ddim => Some("DDIMPipeline"),
            SchedulerClass::SdeVe if self.prediction_type == PredictionType::Score => Some("ScoreSdeVePipeline"),
            SchedulerClass::SdeVe | SchedulerClass::SdeVp | SchedulerClass::EdmEuler => None,
            SchedulerClass::EulerDiscrete | SchedulerClass::HeunDiscrete | SchedulerClass::UniPcMultistep => None,
        }
    }

    /// One line on what diffusers can do with a model in continuous time; nothing on others.
    pub fn note_for_diffusers(&self) -> Option<String> {
        let class = self.class.name();
        let why = match self.class {
            SchedulerClass::SdeVe if self.pipeline().is_some() => {
                return Some("diffusers draws with it by ScoreSdeVePipeline, not by DDPMPipeline".into());
            }
            SchedulerClass::SdeVe => "ScoreSdeVePipeline takes every network's output for a score",
            SchedulerClass::SdeVp if self.sub_vp => "its ScoreSdeVpScheduler does not know sub_vp",
            SchedulerClass::SdeVp => "DDPMPipeline cannot step ScoreSdeVpScheduler",
            SchedulerClass::EdmEuler => "DDPMPipeline does not scale what the network is given",
            _ => return None,
        };
        Some(format!(
            "no pipeline of diffusers draws with it ({why}), so it has no model_index.json; UNet2DModel and {class} open unet/ \
             and scheduler/"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_a_pipeline_draws_rightly_has_one() {
        for (json, pipeline, words) in [
            (json!({}), Some("DDPMPipeline"), None),
            (json!({ "_class_name": "DDIMScheduler" }), Some("DDIMPipeline"), None),
            (json!({ "_class_name": "EulerDiscreteScheduler" }), None, None),
            (
                json!({ "_class_name": "ScoreSdeVeScheduler" }),
                Some("ScoreSdeVePipeline"),
                Some("by ScoreSdeVePipeline"),
            ),
            (
                json!({ "_class_name": "ScoreSdeVeScheduler", "prediction_type": "epsilon" }),
                None,
                Some("output for a score"),
            ),
            (json!({ "_class_name": "ScoreSdeVpScheduler" }), None, Some("cannot step")),
            (json!({ "_class_name": "ScoreSdeVpScheduler", "sub_vp": true }), None, Some("sub_vp")),
            (json!({ "_class_name": "EDMEulerScheduler" }), None, Some("does not scale")),
        ] {
            let config = SchedulerConfig::from_json(&json, "here").unwrap();
            assert_eq!(config.pipeline(), pipeline, "{json}");
            let note = config.note_for_diffusers();
            let fits = words.map_or(note.is_none(), |words| note.as_ref().is_some_and(|note| note.contains(words)));
            assert!(fits, "{json}: {note:?}");
        }
    }
}
