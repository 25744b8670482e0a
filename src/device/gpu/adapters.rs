//! What GPUs there are.

use crate::error::{Error, Result};
use wgpu::{Backends, CooperativeScalarType, DeviceType, Features};

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

    /// Rows and columns of the square matrices of halves that a subgroup of at least 32 threads multiplies together, with
    /// sums in single precision.
    pub(super) fn matrices(&self) -> Vec<u32> {
        let needed = Features::SHADER_F16 | Features::SUBGROUP | Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
        if !self.adapter.features().contains(needed) || self.info.subgroup_min_size < 32 {
            return Vec::new();
        }
        let (half, single) = (CooperativeScalarType::F16, CooperativeScalarType::F32);
        let shapes = self.adapter.cooperative_matrix_properties();
        let has = |side: &u32| {
            shapes.iter().any(|shape| {
                [shape.m_size, shape.n_size, shape.k_size] == [*side; 3]
                    && (shape.ab_type, shape.cr_type) == (half, single)
            })
        };
        [8, 16].into_iter().filter(has).collect()
    }

    /// Opens it with all of its limits.
    pub(super) fn request_device(&self) -> Result<(wgpu::Device, wgpu::Queue)> {
        if self.matrices().is_empty() {
            return self.request_with(Features::empty());
        }
        // What is experimental is no reason to fail.
        self.request_with(Features::EXPERIMENTAL_COOPERATIVE_MATRIX).or_else(|_| self.request_with(Features::empty()))
    }

    fn request_with(&self, experimental: Features) -> Result<(wgpu::Device, wgpu::Queue)> {
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("aquatint"),
            required_features: self.adapter.features() & (Features::TIMESTAMP_QUERY | Features::SHADER_F16)
                | self.subgroups()
                | experimental,
            required_limits: self.adapter.limits(),
            // SAFETY: the one experimental feature that is asked for, cooperative matrices, is used by our own shaders
            // alone, within bounds that their workgroup memory has by its type; tuning compares what they compute with
            // the portable shader before it takes them.
            experimental_features: if experimental.is_empty() {
                wgpu::ExperimentalFeatures::disabled()
            } else {
                unsafe { wgpu::ExperimentalFeatures::enabled() }
            },
            // Buffers of their own size, not carved from large blocks: the plan has made them few and large.
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        };
        pollster::block_on(self.adapter.request_device(&descriptor))
            .map_err(|error| Error::Device(format!("{}: {}", self.name(), super::one_line(&error.to_string()))))
    }
}
