//! `aquatint info`

use super::output::say;
use crate::checkpoint::{ModelFolder, WeightFiles};
use crate::diffusion::SchedulerConfig;
use crate::error::{Error, Result};
use crate::nn::{Forward, Parameters, SampleSize, UNet};
use crate::plan::{Call, Place};
use crate::training::{RunConfig, Trainer, TrainingConfig};
use serde::Serialize;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// Prints a model's architecture: blocks, sizes, parameters, FLOPs, memory
#[derive(clap::Args)]
#[command(after_help = "Example: aquatint info runs/digits --batch 1,16,64")]
pub(super) struct Info {
    /// A model folder, a run's or one in diffusers' layout, or a file of weights beside its config.json
    model: PathBuf,
    /// Pictures at a time that memory is planned for
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4, 16, 64], value_name = "N")]
    batch: Vec<usize>,
    /// Height and width; the model's own if not given
    #[arg(long, value_name = "PIXELS")]
    image_size: Option<usize>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// Pictures at a time of which memory is planned at the most.
const LARGEST_BATCH: usize = 1 << 16;

/// A part of the network.
#[derive(Clone, Debug, Serialize, PartialEq)]
struct Block {
    name: String,
    /// What comes out: channels, height and width, or numbers alone.
    output: Vec<usize>,
    parameters: usize,
    /// Of one picture.
    flops: u64,
}

/// Bytes at a number of pictures.
#[derive(Clone, Debug, Serialize)]
struct Memory {
    batch: usize,
    /// Weights, activations and the pictures of a forward pass.
    forward: u64,
    /// Everything that a training step holds; none where this network cannot be trained.
    training: Option<u64>,
}

impl Info {
    pub(super) fn run(&self) -> Result<ExitCode> {
        if let Some(batch) = self.batch.iter().find(|&&batch| !(1..=LARGEST_BATCH).contains(&batch)) {
            return Err(Error::input(format!("--batch {batch}, expected 1 to {LARGEST_BATCH}")));
        }
        let mut model = ModelFolder::read_network(&self.model)?;
        // A scheduler that this program does not have, or none, is no reason not to look at the network.
        let scheduler = match ModelFolder::read_scheduler(&self.model) {
            Ok(Some(scheduler)) => Ok(scheduler),
            Ok(None) => Err("no scheduler_config.json".to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Ok(scheduler) = &scheduler {
            model.scheduler = scheduler.clone();
        }
        let weights = WeightFiles::find(&self.model)?;
        let unet = &model.unet;
        let asked = self.image_size.map(|size| [size, size]);
        // Networks that name no size work at any: this is one at which there is something to see.
        let size = asked.or(unet.config().sample_size.map(SampleSize::height_width)).unwrap_or([64, 64]);
        let blocks = blocks(unet, size)?;
        let mut why_not = None;
        let memory = (self.batch.iter())
            .map(|&batch| {
                let training = training_bytes(&model, batch, size).map_err(|error| why_not = Some(error.to_string()));
                let forward = Forward::new(unet, batch, size)?.plan.memory().total();
                Ok(Memory { batch, forward, training: training.ok() })
            })
            .collect::<Result<Vec<_>>>()?;
        if self.json {
            let all = json!({
                "unet": unet.config().to_json(),
                "scheduler": scheduler.as_ref().map(SchedulerConfig::to_json).ok(),
                "weights": weights,
                "height": size[0],
                "width": size[1],
                "parameters": unet.parameters().count(),
                "flops": blocks.iter().map(|block| block.flops).sum::<u64>(),
                "blocks": blocks,
                "memory": memory,
            });
            say!("{all:#}");
        } else {
            let WeightFiles { path, files, types } = &weights;
            let files = if *files == 1 { String::new() } else { format!(" and {files} files") };
            say!("weights      {} in {}{files}", types.join(", "), path.display());
            say!("scheduler    {}", scheduler.map_or_else(|why| why, |found| scheduler_line(&found.to_json())));
            print(unet, size, &blocks, &memory, why_not);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The part that a parameter belongs to: `down_blocks.0.resnets.1` of its convolutions and norms.
fn block_name(parameter: &str) -> String {
    let words: Vec<&str> = parameter.split('.').collect();
    let is_number = |word: Option<&&str>| word.is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
    let kind = usize::from(is_number(words.get(1))) + 1;
    let words = match words[0] {
        "down_blocks" | "mid_block" | "up_blocks" => {
            &words[..(kind + 1 + usize::from(is_number(words.get(kind + 1)))).min(words.len())]
        }
        _ => &words[..1],
    };
    words.join(".")
}

/// The parts in the order in which they run. What runs without parameters counts with the part that comes next: what is
/// put together, enlarged or summed up is its input.
fn blocks(unet: &UNet, size: [usize; 2]) -> Result<Vec<Block>> {
    let forward = Forward::new(unet, 1, size)?;
    let mut blocks: Vec<Block> = Vec::new();
    let mut waiting = 0;
    for call in &forward.plan.calls {
        waiting += call.kernel.flops();
        let Some(parameter) = parameter_of(call, &forward.plan.buffers, unet.parameters()) else { continue };
        let name = block_name(&parameter.name);
        let found = blocks.iter().position(|block| block.name == name).unwrap_or_else(|| {
            blocks.push(Block { name, output: Vec::new(), parameters: 0, flops: 0 });
            blocks.len() - 1
        });
        let block = &mut blocks[found];
        block.flops += std::mem::take(&mut waiting);
        if let Some(written) = call.written().last() {
            block.output = picture_sizes(written.len, parameter.shape[0], size);
        }
    }
    if let Some(last) = blocks.last_mut() {
        last.flops += waiting;
    }
    for parameter in unet.parameters().iter() {
        let name = block_name(&parameter.name);
        if let Some(block) = blocks.iter_mut().find(|block| block.name == name) {
            block.parameters += parameter.len();
        }
    }
    Ok(blocks)
}

/// The parameter whose weights a call reads; its weight rather than its bias.
fn parameter_of<'a>(call: &Call, buffers: &[Place], parameters: &'a Parameters) -> Option<&'a crate::nn::Parameter> {
    let in_weights = call.regions.iter().filter(|region| match &buffers[region.buffer] {
        Place::Storage(storage) => storage.name() == "weights",
        Place::Slot { .. } => false,
    });
    let read = in_weights.filter_map(|region| parameters.iter().find(|p| p.offset == region.offset));
    read.max_by_key(|parameter| parameter.shape.len())
}

/// Channels, height and width of so many numbers, if they are pictures of the input's size or of it halved a few times.
fn picture_sizes(len: usize, channels: usize, [height, width]: [usize; 2]) -> Vec<usize> {
    let halved = (0..usize::BITS).map(|k| [height >> k, width >> k]).take_while(|size| size[0] > 0 && size[1] > 0);
    let fits = |size: &[usize; 2]| channels > 0 && len == channels * size[0] * size[1];
    match halved.into_iter().find(fits) {
        Some([height, width]) if len > channels => vec![channels, height, width],
        _ => vec![len],
    }
}

/// What a training step holds.
fn training_bytes(model: &ModelFolder, batch: usize, size: [usize; 2]) -> Result<u64> {
    let training = TrainingConfig { train_batch_size: batch, ..TrainingConfig::default() };
    let (unet, scheduler) = (model.unet.config().clone(), model.scheduler.clone());
    Ok(Trainer::new(&RunConfig { unet, scheduler, training }, size)?.memory().total())
}

fn print(unet: &UNet, size: [usize; 2], blocks: &[Block], memory: &[Memory], why_not: Option<String>) {
    let config = unet.config();
    let [height, width] = size;
    let sizes = |sizes: &[usize]| sizes.iter().map(ToString::to_string).collect::<Vec<_>>().join("x");
    say!(
        "network      {}, {} to {} channels at {height}x{width}",
        "UNet2DModel",
        config.in_channels,
        config.out_channels
    );
    say!("");
    say!("{:32} {:>14} {:>12} {:>10}", "block", "output", "parameters", "MFLOP");
    for block in blocks {
        let Block { name, output, parameters, flops } = block;
        say!("{name:32} {:>14} {parameters:12} {:10.2}", sizes(output), *flops as f64 / 1e6);
    }
    let flops: u64 = blocks.iter().map(|block| block.flops).sum();
    say!("{:32} {:>14} {:12} {:10.2}", "all", "", unet.parameters().count(), flops as f64 / 1e6);
    say!("");
    say!("{:>8} {:>14} {:>14}", "pictures", "forward MB", "training MB");
    for Memory { batch, forward, training } in memory {
        let megabytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
        say!("{batch:8} {:>14} {:>14}", megabytes(*forward), training.map_or("-".into(), megabytes));
    }
    if let Some(why_not) = why_not {
        say!("");
        say!("No training: {why_not}");
    }
}

/// The numbers of a schedule that matter most.
fn scheduler_line(scheduler: &Value) -> String {
    let keys = ["num_train_timesteps", "beta_schedule", "beta_start", "beta_end", "prediction_type", "variance_type"];
    let class = scheduler["_class_name"].as_str().unwrap_or_default().to_string();
    let said = keys.into_iter().filter(|key| !scheduler[key].is_null());
    said.fold(class, |line, key| {
        let value = &scheduler[key];
        format!("{line}, {key} {}", value.as_str().map_or_else(|| value.to_string(), str::to_string))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::UNetConfig;

    #[test]
    fn parts_are_modules() {
        for (parameter, expected) in [
            ("conv_in.weight", "conv_in"),
            ("time_embedding.linear_1.bias", "time_embedding"),
            ("down_blocks.0.resnets.1.norm1.weight", "down_blocks.0.resnets.1"),
            ("down_blocks.2.downsamplers.0.conv.weight", "down_blocks.2.downsamplers.0"),
            ("up_blocks.1.skip_norm.weight", "up_blocks.1.skip_norm"),
            ("mid_block.attentions.0.to_q.weight", "mid_block.attentions.0"),
        ] {
            assert_eq!(block_name(parameter), expected);
        }
    }

    #[test]
    fn parts_add_up_to_the_network() {
        let config = UNetConfig { block_out_channels: vec![32, 64, 64, 64], ..UNetConfig::default() };
        let unet = UNet::new(&config).unwrap();
        let blocks = blocks(&unet, [16, 32]).unwrap();
        let parameters: usize = blocks.iter().map(|block| block.parameters).sum();
        assert_eq!(parameters, unet.parameters().count());
        let find = |name: &str| blocks.iter().find(|block| block.name == name).unwrap().output.clone();
        assert_eq!(find("conv_in"), [32, 16, 32]);
        assert_eq!(find("down_blocks.1.resnets.0"), [64, 8, 16]);
        assert_eq!(find("mid_block.attentions.0"), [64, 2, 4]);
        assert_eq!(find("conv_out"), [3, 16, 32]);
        assert_eq!(find("time_embedding"), [128]);
        // 2 operations for each weight of the convolution at each pixel.
        let first = blocks.iter().find(|block| block.name == "conv_in").unwrap().flops;
        assert!(first >= 2 * 27 * 32 * 16 * 32, "{first}");
    }
}
