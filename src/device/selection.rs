//! Which device a `--device` flag means.

use super::gpu::{Adapter, Gpu, Options, adapters};
use super::{Device, Host};
use crate::error::{Error, Result};

/// What `--device auto` comes to on this machine, and why.
pub struct Chosen {
    /// The best hardware GPU, if there is one; else the host.
    pub adapter: Option<usize>,
    /// One sentence.
    pub reason: String,
}

/// The device that `auto` takes: the first of the best kind of hardware GPU, else the host.
pub fn describe(adapters: &[Adapter]) -> Chosen {
    let best = adapters.iter().filter_map(Adapter::rank).max();
    let adapter = best.and_then(|best| adapters.iter().position(|adapter| adapter.rank() == Some(best)));
    let reason = match adapter {
        Some(index) => format!("gpu:{index}, {}: the best hardware GPU", adapters[index].name()),
        None if adapters.is_empty() => "cpu: no Vulkan, Metal or DX12 adapter was found".into(),
        None => "cpu: there is no hardware GPU, and the host is faster than software Vulkan".into(),
    };
    Chosen { adapter, reason }
}

/// Opens the device that `spec` names: `auto`, `cpu`, `gpu`, `gpu:<index>` or `gpu:<part of a name>`.
///
/// # Errors
/// [`NoDevice`](Error::NoDevice) with the adapters that there are.
pub fn choose(spec: &str) -> Result<Box<dyn Device>> {
    let (kind, which) = spec.split_once(':').map_or((spec, None), |(kind, which)| (kind, Some(which)));
    match (kind, which) {
        ("cpu", None) => return Ok(Box::new(Host::<f32>::new())),
        ("auto" | "gpu", None) | ("gpu", Some(_)) => {}
        _ => {
            let expected = "expected auto, cpu, gpu, gpu:<index> or gpu:<part of a name>";
            return Err(Error::NoDevice(format!("--device {spec}: {expected}")));
        }
    }
    let adapters = adapters();
    let index = match which {
        Some(which) => Some(find(&adapters, which).ok_or_else(|| none(spec, &adapters))?),
        None => describe(&adapters).adapter,
    };
    match index {
        Some(index) => Ok(Box::new(Gpu::open(&adapters[index], Options::default())?)),
        None if kind == "auto" => Ok(Box::new(Host::<f32>::new())),
        None => Err(none(spec, &adapters)),
    }
}

/// The adapter of an index or of a part of a name, whatever its kind.
pub fn find(adapters: &[Adapter], which: &str) -> Option<usize> {
    let named = |adapter: &Adapter| adapter.name().to_lowercase().contains(&which.to_lowercase());
    match which.parse::<usize>() {
        Ok(index) if index < adapters.len() => Some(index),
        _ if which.is_empty() => None,
        _ => adapters.iter().position(named),
    }
}

fn none(spec: &str, adapters: &[Adapter]) -> Error {
    let list = adapters.iter().enumerate().map(|(index, adapter)| format!("gpu:{index} {}", adapter.description()));
    let found = match list.collect::<Vec<_>>().join("; ") {
        list if list.is_empty() => "no adapter was found (is a Vulkan, Metal or DX12 driver installed?)".into(),
        list => format!("found {list}"),
    };
    let note = if spec == "gpu" { "; gpu alone means hardware, software is asked for by name" } else { "" };
    Error::NoDevice(format!("--device {spec}: no such GPU; {found}{note}"))
}

/// The processor's name, for descriptions.
pub(super) fn processor_name() -> String {
    let unknown = || "unknown processor".to_string();
    let Ok(mut system) = sysinfo::System::new() else { return unknown() };
    system.refresh_cpu_list(sysinfo::CpuRefreshKind::nothing());
    system.cpus().first().map_or_else(unknown, |cpu| cpu.brand().trim().to_string())
}
