//! The flags of `sample` that say how a picture's class counts.

use crate::diffusion::Guidance;
use crate::error::{Error, Result};
use crate::nn::{UNet, UNetConfig};

/// Classifier-free guidance.
#[derive(clap::Args)]
#[command(next_help_heading = "Guidance")]
pub(super) struct GuidanceFlags {
    /// How far to go from what the model draws without a class, at 0, to what it draws with one, at 1, and beyond: w + 1
    /// where a paper's guidance is w
    #[arg(long, value_name = "SCALE", allow_negative_numbers = true)]
    guidance: Option<f64>,
    /// Guides only where noise / signal is above LOW and at most HIGH; elsewhere the class counts as without guidance
    #[arg(long, value_name = "LOW,HIGH", value_delimiter = ',', requires = "guidance", allow_negative_numbers = true)]
    guidance_interval: Option<Vec<f64>>,
    /// Takes back so much, 0 to 1, of what guidance adds to a prediction's standard deviation
    #[arg(long, value_name = "PHI", requires = "guidance", allow_negative_numbers = true)]
    guidance_rescale: Option<f64>,
    /// The class that stands for none, where the model's config.json does not say it (unconditional_class)
    #[arg(long, value_name = "CLASS")]
    unconditional_class: Option<usize>,
}

impl GuidanceFlags {
    /// What the flags say, if it goes together.
    pub(super) fn guidance(&self) -> Result<Guidance> {
        let scale = self.guidance.unwrap_or(1.0);
        let plain = scale == 0.0 || scale == 1.0;
        if let Some(rescale) = self.guidance_rescale.filter(|_| plain) {
            return Err(Error::input(format!(
                "--guidance-rescale is {rescale}, but --guidance {scale} makes nothing larger; expected another scale"
            )));
        }
        let interval = match self.guidance_interval.as_deref() {
            None => None,
            Some(&[low, high]) => Some([low, high]),
            Some(other) => {
                return Err(Error::input(format!(
                    "--guidance-interval has {} numbers, expected LOW,HIGH",
                    other.len()
                )));
            }
        };
        let rescale = self.guidance_rescale.unwrap_or(0.0);
        Ok(Guidance { scale, rescale, interval, ..Guidance::default() })
    }

    /// The network with the class that stands for none, as the flags name it.
    pub(super) fn name_class(&self, unet: &mut UNet) -> Result<()> {
        if let Some(class) = self.unconditional_class {
            let config: UNetConfig = unet.config().with_unconditional_class(class, "--unconditional-class")?;
            *unet = UNet::new(&config)?;
        }
        Ok(())
    }
}
