//! Compiled shaders, one for every kernel and set of `override` constants.

use super::Options;
use crate::error::Result;
use crate::plan::{Access, Call, Variant};
use std::collections::HashMap;

/// A compiled shader and the layout of its bindings.
#[derive(Clone)]
pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
}

/// A shader's texts (two variants may share a file), the bits of its constants, and the bindings that hold halves.
type Key = (&'static [&'static str], Vec<(&'static str, u64)>, u32);

pub(super) struct Pipelines {
    compiled: HashMap<Key, Pipeline>,
    /// Layout of group 1: the step block.
    pub(super) step_layout: wgpu::BindGroupLayout,
    options: Options,
}

fn entry(binding: u32, ty: wgpu::BufferBindingType) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    }
}

impl Pipelines {
    pub(super) fn new(device: &wgpu::Device, options: Options) -> Self {
        let step_layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("step"),
            entries: &[entry(0, wgpu::BufferBindingType::Uniform)],
        });
        Self { compiled: HashMap::new(), step_layout, options }
    }

    /// Workgroups from which on a dispatch is split over two dimensions.
    pub(super) fn group_limit(&self, device: &wgpu::Device) -> u32 {
        self.options.group_limit.unwrap_or(device.limits().max_compute_workgroups_per_dimension)
    }

    /// The pipeline of a call's variant, compiled if it is the first of its kind.
    pub(super) fn get(&mut self, device: &wgpu::Device, call: &Call, variant: &Variant) -> Result<Pipeline> {
        let Variant { shader, constants, .. } = variant;
        let key =
            (shader.sources, constants.iter().map(|&(name, value)| (name, value.to_bits())).collect(), call.halves);
        if let Some(pipeline) = self.compiled.get(&key) {
            return Ok(pipeline.clone());
        }
        let bindings = call.kernel.bindings();
        let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform)];
        entries.extend(bindings.iter().zip(1..).map(|(binding, number)| {
            entry(number, wgpu::BufferBindingType::Storage { read_only: binding.access == Access::Read })
        }));
        let layout = device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(shader.name), entries: &entries });
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(shader.name),
            source: wgpu::ShaderSource::Wgsl(shader.source(call.halves).into()),
        };
        let module = if self.options.checked {
            device.create_shader_module(descriptor)
        } else {
            // SAFETY: the shaders are our own. The recorder holds every binding to the size that the kernel states,
            // integers that come from data are validated before they are uploaded, every loop ends, and the tests run
            // every case between guards and again with the checks on.
            unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
        };
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(shader.name),
            bind_group_layouts: &[Some(&layout), Some(&self.step_layout)],
            immediate_size: 0,
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(shader.name),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            // Every shader writes its workgroup memory before it reads it.
            compilation_options: wgpu::PipelineCompilationOptions {
                constants,
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        let pipeline = Pipeline { pipeline, layout };
        self.compiled.insert(key, pipeline.clone());
        Ok(pipeline)
    }
}
