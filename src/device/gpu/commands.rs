//! A loaded plan: prebuilt pipelines and bind groups, encoded anew for every run (wgpu's command buffers cannot be
//! replayed), in as few submissions as a watchdog allows.

use super::buffers::Buffers;
use super::pipelines::{Pipeline, Pipelines};
use crate::error::{Error, Result};
use crate::plan::{Place, Plan, Step, Variant};
use std::ops::Range;
use std::time::Instant;

/// Seconds that one submission may take: watchdogs reset GPUs that are busy for a second or two.
const SUBMISSION_SECONDS: f64 = 0.25;
/// Work in a submission of a plan's first run, whose time tells how fast the device is.
const FIRST_SUBMISSION_WORK: f64 = 2e9;

pub(super) struct Dispatch {
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
    grid: [u32; 2],
    /// Multiply-adds and bytes, added up: no more than a scale for time.
    work: f64,
}

impl Dispatch {
    /// Encodes it, in a pass whose group 1 is set.
    pub(super) fn encode(&self, pass: &mut wgpu::ComputePass) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        pass.dispatch_workgroups(self.grid[0], self.grid[1], 1);
    }
}

pub(super) struct Loaded {
    pub(super) dispatches: Vec<Dispatch>,
    pub(super) step: wgpu::Buffer,
    pub(super) step_group: wgpu::BindGroup,
    /// The runs of dispatches that are submitted together, once the device's speed is known.
    submissions: Option<Vec<Range<usize>>>,
    slots: Vec<Option<wgpu::Buffer>>,
}

/// Splits `groups` workgroups over two dimensions of at most `limit`.
fn grid(groups: usize, limit: u32) -> Result<[u32; 2]> {
    let limit = limit as usize;
    let rows = groups.div_ceil(limit).max(1);
    if rows > 65535 {
        return Err(Error::Device(format!("a kernel needs {groups} workgroups, more than this GPU can start")));
    }
    Ok([groups.div_ceil(rows).max(1) as u32, rows as u32])
}

impl Loaded {
    pub(super) fn new(
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        plan: &Plan,
        buffers: &Buffers,
        pipelines: &Pipelines,
        compiled: Vec<(Variant, Pipeline)>,
    ) -> Result<Self> {
        let slots = (plan.buffers.iter().enumerate())
            .map(|(index, place)| match place {
                Place::Slot { .. } => buffers.create(device, queue, &format!("slot {index}"), place.bytes()).map(Some),
                Place::Storage(_) => Ok(None),
            })
            .collect::<Result<Vec<_>>>()?;
        let (parameters, parameter_ranges) = parameter_block(device, queue, plan);
        let limit = pipelines.group_limit(device);
        let mut dispatches = Vec::with_capacity(plan.calls.len());
        for ((call, (variant, compiled)), range) in plan.calls.iter().zip(compiled).zip(parameter_ranges) {
            let block = wgpu::BufferBinding {
                buffer: &parameters,
                offset: range.start,
                size: std::num::NonZeroU64::new(range.end - range.start),
            };
            let mut entries = vec![wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(block) }];
            for ((region, element), binding) in call.regions.iter().zip(call.elements()).zip(1..) {
                let buffer = match (&slots[region.buffer], &plan.buffers[region.buffer]) {
                    (Some(slot), _) => slot,
                    (None, Place::Storage(storage)) => buffers.get(storage)?,
                    (None, Place::Slot { .. }) => return Err(Error::Device("a slot was not allocated".into())),
                };
                let resource = buffers.binding(buffer, element, region.offset, region.len)?;
                entries.push(wgpu::BindGroupEntry { binding, resource });
            }
            let label = Some(variant.name);
            let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
                label,
                layout: &compiled.layout,
                entries: &entries,
            });
            let bytes: usize =
                call.regions.iter().zip(call.elements()).map(|(r, element)| element.bytes() * r.len).sum();
            dispatches.push(Dispatch {
                pipeline: compiled.pipeline,
                group,
                grid: grid(variant.groups, limit)?,
                work: call.kernel.flops() as f64 + bytes as f64,
            });
        }
        let step = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("step"),
            size: std::mem::size_of::<Step>() as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let step_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("step"),
            layout: &pipelines.step_layout,
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: step.as_entire_binding() }],
        });
        Ok(Self { dispatches, step, step_group, submissions: None, slots })
    }

    /// The plan's own buffers.
    pub(super) fn slots(&self) -> impl Iterator<Item = &wgpu::Buffer> {
        self.slots.iter().flatten()
    }

    /// Submits every dispatch. The first run waits for each of its submissions and learns how long work takes.
    pub(super) fn run(
        &mut self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        step: &Step,
    ) -> Result<Vec<wgpu::SubmissionIndex>> {
        queue.write_buffer(&self.step, 0, bytemuck::bytes_of(step));
        if let Some(submissions) = &self.submissions {
            return Ok(submissions.iter().map(|range| self.submit(device, queue, range.clone())).collect());
        }
        let mut slowest = 0.0f64;
        for range in self.cut(FIRST_SUBMISSION_WORK) {
            let begin = Instant::now();
            let work: f64 = self.dispatches[range.clone()].iter().map(|dispatch| dispatch.work).sum();
            let poll =
                wgpu::PollType::Wait { submission_index: Some(self.submit(device, queue, range)), timeout: None };
            device.poll(poll).map_err(|error| Error::DeviceLost(super::one_line(&error.to_string())))?;
            slowest = slowest.max(begin.elapsed().as_secs_f64() / work.max(FIRST_SUBMISSION_WORK / 16.0));
        }
        self.submissions = Some(self.cut(SUBMISSION_SECONDS / slowest.max(f64::MIN_POSITIVE)));
        Ok(Vec::new())
    }

    /// The runs of dispatches that are submitted together.
    pub(super) fn submissions(&self) -> Vec<Range<usize>> {
        self.submissions.clone().unwrap_or_else(|| self.cut(FIRST_SUBMISSION_WORK))
    }

    /// Cuts the dispatches into runs of at most `work`, or of one dispatch.
    fn cut(&self, work: f64) -> Vec<Range<usize>> {
        let mut runs = Vec::new();
        let (mut first, mut sum) = (0, 0.0);
        for (index, dispatch) in self.dispatches.iter().enumerate() {
            if index > first && sum + dispatch.work > work {
                runs.push(first..index);
                (first, sum) = (index, 0.0);
            }
            sum += dispatch.work;
        }
        if first < self.dispatches.len() {
            runs.push(first..self.dispatches.len());
        }
        runs
    }

    fn submit(&self, device: &wgpu::Device, queue: &wgpu::Queue, range: Range<usize>) -> wgpu::SubmissionIndex {
        let mut encoder = device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_bind_group(1, &self.step_group, &[]);
        for dispatch in &self.dispatches[range] {
            dispatch.encode(&mut pass);
        }
        drop(pass);
        queue.submit([encoder.finish()])
    }
}

/// One buffer with the parameter blocks of all calls, and where each of them is.
fn parameter_block(device: &wgpu::Device, queue: &wgpu::Queue, plan: &Plan) -> (wgpu::Buffer, Vec<Range<u64>>) {
    let alignment = device.limits().min_uniform_buffer_offset_alignment as usize / 4;
    let mut words: Vec<u32> = Vec::new();
    let mut ranges = Vec::with_capacity(plan.calls.len());
    for call in &plan.calls {
        words.resize(words.len().next_multiple_of(alignment), 0);
        let first = words.len();
        words.extend(call.kernel.parameters());
        words.resize(words.len().next_multiple_of(4).max(first + 4), 0);
        ranges.push(4 * first as u64..4 * words.len() as u64);
    }
    let buffer = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("parameters"),
        size: (4 * words.len() as u64).max(16),
        usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    queue.write_buffer(&buffer, 0, bytemuck::cast_slice(&words));
    (buffer, ranges)
}
