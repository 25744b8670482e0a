//! Which tensors of a pickle are a network's: PyTorch calls their dictionary a state dict.

use super::pickle::{Node, Pickle, Tensor, Value};
use crate::error::{Error, Result};
use std::collections::HashSet;

/// Under what training programs keep a network's tensors, beside counters and the optimiser's.
const KNOWN: [&str; 9] =
    ["state_dict", "model", "model_state_dict", "ema", "ema_state_dict", "unet", "module", "params", "network"];

/// The network's tensors with their names. Errors do not name the file.
///
/// # Errors
/// [`Input`](Error::Input) if there is no state dict, more than one, or it holds what is no tensor.
pub(super) fn tensors<'a>(pickle: &'a Pickle) -> Result<Vec<(&'a str, &'a Tensor)>> {
    let Some(Node::Dict(top)) = pickle.node(pickle.root) else {
        return Err(Error::input("the pickle's value is no dictionary of tensors"));
    };
    let entries =
        |dict: &'a [(Value, Value)]| dict.iter().filter_map(|(key, value)| Some((text(pickle, *key)?, *value)));
    let has_tensors = |dict: &'a [(Value, Value)]| dict.iter().any(|(_, value)| tensor(pickle, *value).is_some());
    if has_tensors(top) {
        // Counters and settings may lie beside the tensors.
        return collect(pickle, entries(top).filter(|(_, value)| pickle.node(*value).is_some()));
    }
    let mut found = Vec::new();
    // By the names, so that each is looked into once, however often the dictionary has it; the last one is Python's.
    for name in KNOWN {
        if let Some((_, value)) = entries(top).rfind(|(key, _)| *key == name)
            && let Some(Node::Dict(dict)) = pickle.node(value)
            && has_tensors(dict)
        {
            found.push((name, dict));
        }
    }
    match found[..] {
        [(_, dict)] => {
            if dict.iter().any(|(key, _)| text(pickle, *key).is_none()) {
                return Err(Error::input("the state dict has a key that is no text"));
            }
            collect(pickle, entries(dict))
        }
        [] => {
            let mut names: Vec<String> = entries(top).take(8).map(|(name, _)| short(name)).collect();
            names.sort_unstable();
            let (known, found) = (KNOWN.join(", "), names.join(", "));
            Err(Error::input(format!("no tensors, neither at the top nor under {known}; the keys are [{found}]")))
        }
        _ => {
            let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
            let names = names.join(" and ");
            Err(Error::input(format!("tensors under {names}, expected one of them; save the one that is meant alone")))
        }
    }
}

fn text<'a>(pickle: &'a Pickle, key: Value) -> Option<&'a str> {
    match key {
        Value::Text(text) => Some(pickle.text(text)),
        _ => None,
    }
}

fn tensor<'a>(pickle: &'a Pickle, value: Value) -> Option<&'a Tensor> {
    match pickle.node(value) {
        Some(Node::Tensor(tensor)) => Some(tensor),
        _ => None,
    }
}

fn collect<'a>(
    pickle: &'a Pickle,
    entries: impl Iterator<Item = (&'a str, Value)>,
) -> Result<Vec<(&'a str, &'a Tensor)>> {
    let mut names = HashSet::new();
    let tensors = entries.map(|(name, value)| {
        let Some(tensor) = tensor(pickle, value) else {
            return Err(Error::input(format!("{} in the state dict is no tensor", short(name))));
        };
        if !names.insert(name) {
            return Err(Error::input(format!("{} is there twice", short(name))));
        }
        Ok((name, tensor))
    });
    tensors.collect()
}

/// A name from a file, fit for one line.
fn short(name: &str) -> String {
    name.chars().take(100).collect::<String>().escape_debug().to_string()
}
