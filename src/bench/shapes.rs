//! The shapes of the reference networks: every different call of their training and sampling plans, alone.

use super::networks::Reference;
use super::{Bench, Options, Work, any_step, label, steps};
use crate::device::Device;
use crate::error::Result;
use crate::plan::{Call, Element, Plan};
use std::collections::{HashMap, HashSet};

/// One row for every different call, named after its shader and its sizes.
pub(super) fn shapes(network: &Reference, options: &Options) -> Result<Vec<Bench>> {
    let train = steps::train(network, options.batch.unwrap_or(network.train_batch), options)?.plan;
    let sample = steps::sample(network, options.batch.unwrap_or(network.forward_batch))?.plan;
    let sampler_step = sample.calls.iter().filter(|call| call.kernel.shader().name == "sampler_step");
    let mut seen = HashSet::new();
    let mut names: HashMap<String, usize> = HashMap::new();
    let mut benches = Vec::new();
    for call in train.calls.iter().chain(sampler_step) {
        if !seen.insert(call.key()) {
            continue;
        }
        let sizes = label(&*call.kernel);
        let mut name = format!("{}/{}/{sizes}{}", network.name, call.kernel.shader().name, options.suffix());
        let number = names.entry(name.clone()).or_default();
        *number += 1;
        if *number > 1 {
            name += &format!("#{number}");
        }
        let call = call.clone();
        benches.push(Bench::new(name, false, move || Ok(alone(&call))));
    }
    Ok(benches)
}

/// A plan of one call, with storages of its own that hold arbitrary data.
fn alone(call: &Call) -> Work {
    let (plan, storages) = Plan::of_call(call);
    let prepare = move |device: &mut dyn Device| {
        for storage in &storages {
            match storage.element() {
                // Between 0 and 1, so that no root is taken of a negative number.
                Element::F32 | Element::F16 => device.upload(storage, 0, &numbers(storage.len()))?,
                // Indices: zero is always one.
                Element::U32 => device.upload_integers(storage, 0, &vec![0; storage.len()])?,
            }
        }
        Ok(())
    };
    Work { plan, step: any_step(), prepare: Box::new(prepare) }
}

/// Numbers between 0 and 1 without order.
fn numbers(len: usize) -> Vec<f32> {
    (0..len as u32).map(|index| (index.wrapping_mul(0x9E37_79B9) >> 8) as f32 / (1 << 24) as f32).collect()
}
