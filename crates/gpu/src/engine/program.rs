//! Pipelines of a plan, bound to its buffers.

use super::Gpu;
use super::memory::Memory;
use crate::plan::Plan;
use crate::shader::Access;
use crate::{GpuError, Kernel};

struct Stage {
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
    workgroups: [u32; 3],
}

/// The dispatches of a step.
pub(crate) struct Program(Vec<Stage>);

impl Program {
    /// Compiles the kernels.
    pub async fn new(gpu: &Gpu, plan: &Plan, memory: &Memory) -> Result<Self, GpuError> {
        gpu.check()?;
        let mut stages = Vec::new();
        let mut outcomes = Vec::new();
        for kernel in &plan.kernels {
            // A scope each, so that the failure names its kernel.
            let internal = gpu.device.push_error_scope(wgpu::ErrorFilter::Internal);
            let valid = gpu.device.push_error_scope(wgpu::ErrorFilter::Validation);
            stages.push(stage(gpu, kernel, memory));
            let valid = valid.pop();
            outcomes.push((valid, internal.pop()));
        }
        for (kernel, (valid, internal)) in plan.kernels.iter().zip(outcomes) {
            if let Some(error) = valid.await.or(internal.await) {
                gpu.check()?;
                let (kernel, message) = (kernel.name.clone(), error.to_string());
                return Err(GpuError::Kernel { kernel, message });
            }
        }
        Ok(Self(stages))
    }

    /// Submits `steps` steps.
    pub fn submit(&self, gpu: &Gpu, steps: u32) {
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for _ in 0..steps {
            for Stage { pipeline, group, workgroups: [x, y, z] } in &self.0 {
                pass.set_pipeline(pipeline);
                pass.set_bind_group(0, group, &[]);
                pass.dispatch_workgroups(*x, *y, *z);
            }
        }
        drop(pass);
        gpu.queue.submit([encoder.finish()]);
    }
}

fn stage(gpu: &Gpu, kernel: &Kernel, memory: &Memory) -> Stage {
    let module = gpu.device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some(&kernel.name),
        source: wgpu::ShaderSource::Wgsl(kernel.code.as_str().into()),
    });
    let entries = (0..).zip(&kernel.bindings).map(|(binding, bound)| {
        let ty = match bound.access {
            Access::Uniform => wgpu::BufferBindingType::Uniform,
            Access::Read => wgpu::BufferBindingType::Storage { read_only: true },
            Access::Write => wgpu::BufferBindingType::Storage { read_only: false },
        };
        wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
            count: None,
        }
    });
    let entries: Vec<_> = entries.collect();
    let layout = gpu.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: None,
        entries: &entries,
    });
    let pipeline_layout = gpu.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: None,
        bind_group_layouts: &[Some(&layout)],
        ..Default::default()
    });
    let pipeline = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(&kernel.name),
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some("main"),
        compilation_options: Default::default(),
        cache: None,
    });
    let entries: Vec<_> = (0..)
        .zip(&kernel.bindings)
        .map(|(binding, bound)| wgpu::BindGroupEntry {
            binding,
            resource: memory.buffer(bound.buffer).as_entire_binding(),
        })
        .collect();
    let group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &layout,
        entries: &entries,
    });
    Stage { pipeline, group, workgroups: kernel.workgroups }
}
