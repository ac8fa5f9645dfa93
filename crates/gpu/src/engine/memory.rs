//! Buffers of a plan on a device: made, written, read.

use super::Gpu;
use super::health::{Answer, refusal};
use crate::GpuError;
use crate::plan::{Plan, Role};

/// The buffers of a plan, in its order.
pub(crate) struct Memory {
    buffers: Vec<wgpu::Buffer>,
}

/// Sizes that depend on the examples, in bytes.
pub(crate) struct Sizes {
    pub data: u64,
    pub targets: u64,
    pub order: u64,
}

impl Memory {
    /// Makes the buffers, all zero.
    pub async fn new(gpu: &Gpu, plan: &Plan, sizes: &Sizes) -> Result<Self, GpuError> {
        let memory = gpu.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let valid = gpu.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let buffers = plan.buffers.iter().map(|buffer| {
            let size = match buffer.role {
                Role::Data => sizes.data,
                Role::Targets => sizes.targets,
                Role::Order => sizes.order,
                _ => buffer.bytes,
            };
            let kind = match buffer.role {
                Role::Rates => wgpu::BufferUsages::UNIFORM,
                _ => wgpu::BufferUsages::STORAGE,
            };
            gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: size.next_multiple_of(16),
                usage: kind | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            })
        });
        let buffers = buffers.collect();
        let (valid, memory) = (valid.pop(), memory.pop());
        if let Some(error) = valid.await.or(memory.await) {
            gpu.check()?;
            return Err(refusal(&error));
        }
        Ok(Self { buffers })
    }

    pub fn buffer(&self, index: usize) -> &wgpu::Buffer {
        &self.buffers[index]
    }

    /// Writes `bytes` at `offset`, both multiples of 4, before what is submitted next.
    pub fn write(&self, gpu: &Gpu, index: usize, offset: u64, bytes: &[u8]) {
        gpu.queue.write_buffer(&self.buffers[index], offset, bytes);
    }

    /// Floats of a buffer.
    pub fn len(&self, index: usize) -> usize {
        (self.buffers[index].size() / 4) as usize
    }

    /// The floats of some buffers, once everything submitted before is done.
    pub async fn read(&self, gpu: &Gpu, indices: &[usize]) -> Result<Vec<Vec<f32>>, GpuError> {
        gpu.check()?;
        let sizes: Vec<u64> = indices.iter().map(|&index| self.buffers[index].size()).collect();
        let mut result = Vec::new();
        let staging = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: sizes.iter().sum(),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        let mut offset = 0;
        for (&index, &size) in indices.iter().zip(&sizes) {
            encoder.copy_buffer_to_buffer(&self.buffers[index], 0, &staging, offset, size);
            offset += size;
        }
        gpu.queue.submit([encoder.finish()]);
        let mapped = Answer::pending();
        let callback = mapped.clone();
        staging.map_async(wgpu::MapMode::Read, .., move |outcome| callback.give(outcome));
        let outcome = gpu.answer(&mapped).await?;
        gpu.check()?;
        outcome.map_err(|error| GpuError::Unreadable(error.to_string()))?;
        let view = staging.get_mapped_range(..);
        let view = view.map_err(|error| GpuError::Unreadable(error.to_string()))?;
        let mut offset = 0;
        for size in sizes {
            let bytes = &view[offset..offset + size as usize];
            result.push(bytes.chunks_exact(4).map(bytemuck::pod_read_unaligned).collect());
            offset += size as usize;
        }
        drop(view);
        staging.destroy();
        Ok(result)
    }
}

impl Drop for Memory {
    /// Gives the memory back at once: a browser would wait for its garbage collector.
    fn drop(&mut self) {
        self.buffers.iter().for_each(wgpu::Buffer::destroy);
    }
}
