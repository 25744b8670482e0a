//! What GPUs there are.

use crate::error::{Error, Result};
use wgpu::{Backends, DeviceType, Features};

/// A GPU, or a software driver that stands in for one.
pub struct Adapter {
    adapter: wgpu::Adapter,
    info: wgpu::AdapterInfo,
}

/// Every adapter of this machine's Vulkan, Metal and DX12, in the order in which `gpu:<index>` counts them.
pub fn adapters() -> Vec<Adapter> {
    let backends = Backends::VULKAN | Backends::METAL | Backends::DX12;
    let descriptor = wgpu::InstanceDescriptor {
        backends,
        flags: wgpu::InstanceFlags::empty(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    };
    let instance = wgpu::Instance::new(descriptor);
    let adapters = pollster::block_on(instance.enumerate_adapters(backends));
    adapters.into_iter().map(|adapter| Adapter { info: adapter.get_info(), adapter }).collect()
}

impl Adapter {
    /// The device's name as the driver gives it.
    pub fn name(&self) -> &str {
        &self.info.name
    }

    /// One line for people.
    pub fn description(&self) -> String {
        let wgpu::AdapterInfo { name, backend, driver, driver_info, .. } = &self.info;
        format!("{name} ({}, {backend}, {driver} {driver_info})", self.kind())
    }

    /// Discrete, integrated, virtual, software or unknown.
    pub fn kind(&self) -> &'static str {
        match self.info.device_type {
            DeviceType::DiscreteGpu => "discrete GPU",
            DeviceType::IntegratedGpu => "integrated GPU",
            DeviceType::VirtualGpu => "virtual GPU",
            DeviceType::Cpu => "software",
            DeviceType::Other => "unknown",
        }
    }

    /// Whether the CPU does the work.
    pub fn is_software(&self) -> bool {
        self.info.device_type == DeviceType::Cpu
    }

    /// How much `auto` likes it: more is better, `None` is never taken by itself.
    pub fn rank(&self) -> Option<u32> {
        match self.info.device_type {
            DeviceType::DiscreteGpu => Some(3),
            DeviceType::IntegratedGpu => Some(2),
            DeviceType::VirtualGpu => Some(1),
            DeviceType::Cpu | DeviceType::Other => None,
        }
    }

    /// What `aquatint devices` says about it, as (what, value).
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let limits = self.adapter.limits();
        let features = self.adapter.features();
        let optional = [
            ("subgroups", Features::SUBGROUP),
            ("f16", Features::SHADER_F16),
            ("timestamps", Features::TIMESTAMP_QUERY),
            ("immediates", Features::IMMEDIATES),
            ("cooperative matrices", Features::EXPERIMENTAL_COOPERATIVE_MATRIX),
        ];
        let present: Vec<&str> =
            optional.iter().filter(|(_, f)| features.contains(*f)).map(|(name, _)| *name).collect();
        let subgroups = match (self.info.subgroup_min_size, self.info.subgroup_max_size) {
            (low, high) if low == high => low.to_string(),
            (low, high) => format!("{low} to {high}"),
        };
        let megabytes = |bytes: u64| if bytes >> 40 > 0 { "unlimited".into() } else { format!("{} MB", bytes >> 20) };
        let mut facts = vec![
            ("type", format!("{} ({})", self.kind(), self.info.backend)),
            ("driver", format!("{} {}", self.info.driver, self.info.driver_info)),
            ("largest buffer", megabytes(limits.max_buffer_size)),
            ("largest binding", megabytes(limits.max_storage_buffer_binding_size)),
            ("storage bindings", limits.max_storage_buffers_per_shader_stage.to_string()),
            ("workgroup memory", format!("{} KB", limits.max_compute_workgroup_storage_size >> 10)),
            ("workgroup threads", limits.max_compute_invocations_per_workgroup.to_string()),
            ("subgroup threads", subgroups),
            ("optional features", if present.is_empty() { "none".into() } else { present.join(", ") }),
        ];
        for shape in self.adapter.cooperative_matrix_properties() {
            facts.push(("cooperative matrix", format!("{shape:?}")));
        }
        facts
    }

    /// The feature of handing values round, where at least 8 threads do that.
    fn subgroups(&self) -> Features {
        if self.info.subgroup_min_size >= 8 { self.adapter.features() & Features::SUBGROUP } else { Features::empty() }
    }

    /// Opens it with all of its limits.
    pub(super) fn request_device(&self) -> Result<(wgpu::Device, wgpu::Queue)> {
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("aquatint"),
            required_features: self.adapter.features() & (Features::TIMESTAMP_QUERY | Features::SHADER_F16)
                | self.subgroups(),
            required_limits: self.adapter.limits(),
            // Buffers of their own size, not carved from large blocks: the plan has made them few and large.
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        };
        pollster::block_on(self.adapter.request_device(&descriptor))
            .map_err(|error| Error::Device(format!("{}: {}", self.name(), super::one_line(&error.to_string()))))
    }
}
