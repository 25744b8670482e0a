//! The time of every dispatch of a plan: timestamps where the adapter has them, else one submission after the other.

use super::commands::Loaded;
use crate::error::{Error, Result};
use crate::plan::Step;
use std::time::{Duration, Instant};
use wgpu::{BufferDescriptor, BufferUsages};

/// Dispatches that are timed in one submission at most: each has two timestamps, of which a query set holds 4096.
const TOGETHER: usize = 1024;

impl Loaded {
    /// Runs the plan with a pass of its own for every dispatch: timestamps inside one pass can land early.
    pub(super) fn profile(&self, device: &wgpu::Device, queue: &wgpu::Queue, step: &Step) -> Result<Vec<Duration>> {
        queue.write_buffer(&self.step, 0, bytemuck::bytes_of(step));
        if device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            self.profile_by_timestamps(device, queue)
        } else {
            self.profile_by_waiting(device, queue)
        }
    }

    fn profile_by_timestamps(&self, device: &wgpu::Device, queue: &wgpu::Queue) -> Result<Vec<Duration>> {
        let queries = device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("profile"),
            ty: wgpu::QueryType::Timestamp,
            count: 2 * TOGETHER as u32,
        });
        let size = 2 * TOGETHER as u64 * u64::from(wgpu::QUERY_SIZE);
        let resolved = device.create_buffer(&BufferDescriptor {
            label: Some("profile"),
            size,
            usage: BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        let period = f64::from(queue.get_timestamp_period());
        let mut times = Vec::with_capacity(self.dispatches.len());
        let submissions = self.submissions();
        for dispatches in submissions.into_iter().flat_map(|range| self.dispatches[range].chunks(TOGETHER)) {
            let mut encoder = device.create_command_encoder(&Default::default());
            for (dispatch, first) in dispatches.iter().zip((0..).step_by(2)) {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: None,
                    timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                        query_set: &queries,
                        beginning_of_pass_write_index: Some(first),
                        end_of_pass_write_index: Some(first + 1),
                    }),
                });
                pass.set_bind_group(1, &self.step_group, &[]);
                dispatch.encode(&mut pass);
            }
            let words = 2 * dispatches.len();
            encoder.resolve_query_set(&queries, 0..words as u32, &resolved, 0);
            queue.submit([encoder.finish()]);
            let ticks = super::buffers::read_words(device, queue, &resolved, 0, 2 * words)?;
            let ticks: Vec<u64> = ticks.chunks_exact(2).map(|w| u64::from(w[0]) | u64::from(w[1]) << 32).collect();
            times.extend(
                ticks
                    .chunks_exact(2)
                    .map(|pair| Duration::from_nanos((pair[1].saturating_sub(pair[0]) as f64 * period) as u64)),
            );
        }
        Ok(times)
    }

    fn profile_by_waiting(&self, device: &wgpu::Device, queue: &wgpu::Queue) -> Result<Vec<Duration>> {
        let run = |dispatch: &super::commands::Dispatch| {
            let begun = Instant::now();
            let mut encoder = device.create_command_encoder(&Default::default());
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_bind_group(1, &self.step_group, &[]);
            dispatch.encode(&mut pass);
            drop(pass);
            let submission_index = Some(queue.submit([encoder.finish()]));
            let poll = wgpu::PollType::Wait { submission_index, timeout: None };
            device.poll(poll).map_err(|error| Error::DeviceLost(super::one_line(&error.to_string())))?;
            Ok(begun.elapsed())
        };
        self.dispatches.iter().map(run).collect()
    }
}
