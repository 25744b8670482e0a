//! Pictures do not depend on their batch, and the predicted x_0 is what a stage goes by.

mod devices;

use aquatint::device::Device;
use aquatint::diffusion::{
    Chain, ChainOptions, Guidance, Request, Sampler, SamplerOptions, SchedulerClass, SchedulerConfig,
};
use aquatint::nn::{BlockType, UNet, UNetConfig};
use aquatint::plan::Storage;
use serde_json::{Value, json};

const SIZE: [usize; 2] = [5, 7];
const ELEMENTS: usize = 5 * 7 * 2;

fn unet() -> UNet {
    let config = UNetConfig {
        sample_size: None,
        in_channels: 2,
        out_channels: 2,
        block_out_channels: vec![8],
        down_block_types: vec![BlockType::DownBlock2D],
        up_block_types: vec![BlockType::UpBlock2D],
        norm_num_groups: Some(4),
        attention_head_dim: None,
        layers_per_block: 1,
        num_class_embeds: Some(4),
        unconditional_class: Some(3),
        ..UNetConfig::default()
    };
    UNet::new(&config).unwrap()
}

fn chain(class: SchedulerClass, keys: Value, guidance: f64) -> Chain {
    let mut all = json!({ "_class_name": class.name() });
    all.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    let config = SchedulerConfig::from_json(&all, "test").unwrap();
    let guidance = Guidance { scale: guidance, ..Guidance::default() };
    Chain::new(&config, ChainOptions { steps: Some(4), guidance, ..ChainOptions::default() }).unwrap()
}

fn sampler(device: &mut dyn Device, chain: Chain, batch: usize, weights: &[f32]) -> Sampler {
    sampler_with(device, chain, batch, weights, false)
}

fn sampler_with(device: &mut dyn Device, chain: Chain, batch: usize, weights: &[f32], predictions: bool) -> Sampler {
    let storage = Storage::f32("weights", weights.len());
    let options = SamplerOptions { predictions, ..SamplerOptions::default() };
    let mut sampler = Sampler::with(&unet(), &storage, chain, batch, SIZE, options).unwrap();
    sampler.load(device).unwrap();
    device.upload(&storage, 0, weights).unwrap();
    sampler
}

fn bits(data: &[f32]) -> Vec<u32> {
    data.iter().map(|x| x.to_bits()).collect()
}

/// An odd number of pictures, in batches of two sizes, as one request, as parts of it in any order, and after others.
#[test]
fn pictures_do_not_depend_on_what_is_drawn_with_them() {
    let request = Request { count: 7, first_picture: 2, seed: 5, ..Request::default() };
    let weights = unet().parameters().initialize(5);
    devices::on_each(|device| {
        for (class, guidance) in [(SchedulerClass::Ddpm, 1.0), (SchedulerClass::DpmSolverMultistep, 2.5)] {
            let chain = chain(class, json!({}), guidance);
            let mut threes = sampler(device, chain.clone(), 3, &weights);
            let whole = threes.sample(device, &request, |_, _, _| Ok(())).unwrap();
            for part in [6..7, 0..3, 3..6] {
                let numbers = part.start * ELEMENTS..part.end * ELEMENTS;
                let drawn = request.part(part.clone(), ELEMENTS).unwrap();
                let drawn = threes.sample(device, &drawn, |_, _, _| Ok(())).unwrap();
                assert_eq!(bits(&drawn), bits(&whole[numbers]), "{class:?} {part:?}");
            }
            let mut fives = sampler(device, chain, 5, &weights);
            let others = fives.sample(device, &request, |_, _, _| Ok(())).unwrap();
            for (a, b) in others.iter().zip(&whole) {
                assert!((a - b).abs() < 1e-3, "{class:?}: {a}, {b}");
            }
        }
    });
}

/// Noise has the same bits in batches of any size. A network of zeros says 0, so that pictures are made of nothing else.
#[test]
fn noise_does_not_depend_on_the_batch() {
    let zeros = vec![0.0; unet().parameters().len()];
    devices::on_each(|device| {
        let mut draw = |batch: usize, first: usize, count: usize| {
            let mut sampler = sampler(device, chain(SchedulerClass::Ddpm, json!({}), 1.0), batch, &zeros);
            let request = Request { count, first_picture: first as u32, seed: 9, ..Request::default() };
            let mut first_x = Vec::new();
            let drawn = sampler.sample(device, &request, |_, done, look| {
                first_x.extend(if done == 0 { look.x()? } else { Vec::new() });
                Ok(())
            });
            [first_x, drawn.unwrap()].map(|x| bits(&x))
        };
        let whole = draw(4, 0, 7);
        assert_ne!(whole[0], whole[1]);
        assert_eq!(draw(3, 0, 7), whole);
        assert_eq!(draw(1, 5, 1), whole.each_ref().map(|x| x[5 * ELEMENTS..6 * ELEMENTS].to_vec()));
    });
}

/// The last stage of these chains goes to the x_0 that it predicts; keeping it changes no bit of the pictures.
#[test]
fn the_predicted_picture_is_what_a_stage_goes_by() {
    let weights = unet().parameters().initialize(6);
    let thresholding = json!({ "thresholding": true, "clip_sample": false, "sample_max_value": 1.5 });
    devices::on_each(|device| {
        for (class, keys, guidance) in [
            (SchedulerClass::Ddim, json!({ "clip_sample_range": 0.7 }), 1.0),
            (SchedulerClass::Ddim, json!({}), 3.0),
            (SchedulerClass::Ddpm, thresholding.clone(), 2.0),
            (SchedulerClass::DpmSolverMultistep, json!({}), 1.0),
        ] {
            let chain = chain(class, keys.clone(), guidance);
            let request = Request { count: 3, seed: 5, ..Request::default() };
            let mut plain = sampler(device, chain.clone(), 2, &weights);
            let expected = plain.sample(device, &request, |_, _, look| {
                assert!(look.predicted().is_err());
                Ok(())
            });
            let mut watched = sampler_with(device, chain.clone(), 2, &weights, true);
            let (mut last, mut stages) = (Vec::new(), 0);
            let drawn = watched.sample(device, &request, |_, done, look| {
                stages += 1;
                if done == chain.stages().len() {
                    last.extend(look.predicted()?);
                }
                Ok(())
            });
            let drawn = drawn.unwrap();
            assert_eq!(bits(&drawn), bits(&expected.unwrap()), "{class:?} {keys}");
            assert_eq!(stages, 2 * (chain.stages().len() + 1));
            for (predicted, x) in last.iter().zip(&drawn) {
                assert!((predicted - x).abs() < 1e-5, "{class:?} {keys}: {predicted}, {x}");
            }
            assert_eq!(last.len(), drawn.len());
        }
    });
}
