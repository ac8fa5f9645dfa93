//! Builder of a kernel: bindings, functions, and their text.

use crate::PlanError;
use crate::limits::{Limits, within};
use crate::text::wgsl;

/// Use of a buffer by a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Storage that is only read.
    Read,
    /// Storage that is read and written.
    Write,
    /// Uniform.
    Uniform,
}

/// Type of a buffer's elements in a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    F32,
    U32,
    Quad,
    QuadU32,
}

impl Element {
    fn wgsl(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::U32 => "u32",
            Self::Quad => "vec4<f32>",
            Self::QuadU32 => "vec4<u32>",
        }
    }
}

/// One binding of a kernel, at its place in group 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Number of the buffer in the plan.
    pub buffer: usize,
    /// Use of the buffer.
    pub access: Access,
}

/// A kernel and its dispatch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Name, for messages.
    pub name: String,
    /// WGSL with the entry point `main`.
    pub code: String,
    /// Bindings in the order of their numbers.
    pub bindings: Vec<Binding>,
    /// Workgroups of a dispatch.
    pub workgroups: [u32; 3],
}

/// Builder of a kernel.
pub(crate) struct Shader {
    names: Vec<&'static str>,
    bindings: Vec<Binding>,
    elements: Vec<Element>,
    declarations: String,
    functions: Vec<String>,
    shared: String,
    shared_bytes: u64,
}

impl Shader {
    pub fn new() -> Self {
        Self {
            names: Vec::new(),
            bindings: Vec::new(),
            elements: Vec::new(),
            declarations: String::new(),
            functions: Vec::new(),
            shared: String::new(),
            shared_bytes: 0,
        }
    }

    /// Binds a buffer under a name. Binding the same name again changes nothing.
    pub fn bind(&mut self, name: &'static str, buffer: usize, access: Access, element: Element) {
        if self.names.contains(&name) {
            return;
        }
        self.declarations += &match access {
            Access::Uniform => wgsl!(
                "@group(0)@binding($I)var<uniform> $N:$T;\n",
                I = self.names.len() as u32,
                N = name,
                T = element.wgsl()
            ),
            Access::Read | Access::Write => wgsl!(
                "@group(0)@binding($I)var<storage,$A> $N:array<$T>;\n",
                I = self.names.len() as u32,
                A = if access == Access::Read { "read" } else { "read_write" },
                N = name,
                T = element.wgsl()
            ),
        };
        self.names.push(name);
        self.bindings.push(Binding { buffer, access });
        self.elements.push(element);
    }

    /// Binds a buffer under a name, unless it is bound already in the same way; returns the
    /// name that it has.
    pub fn alias(
        &mut self,
        name: &'static str,
        buffer: usize,
        access: Access,
        element: Element,
    ) -> &'static str {
        let known = self.bindings.iter().zip(&self.elements).position(|(binding, &known)| {
            (binding.buffer, binding.access, known) == (buffer, access, element)
        });
        if let Some(index) = known {
            return self.names[index];
        }
        self.bind(name, buffer, access, element);
        name
    }

    /// Adds a function, once.
    pub fn function(&mut self, text: &str) {
        if !self.functions.iter().any(|known| known == text) {
            self.functions.push(text.to_owned());
        }
    }

    /// Declares memory of the workgroup: `count` elements.
    pub fn share(&mut self, name: &str, element: Element, count: u32) {
        let bytes = if matches!(element, Element::F32 | Element::U32) { 4 } else { 16 };
        self.shared_bytes += bytes * u64::from(count);
        self.shared +=
            &wgsl!("var<workgroup> $N:array<$T,$C>;\n", N = name, T = element.wgsl(), C = count);
    }

    /// The finished kernel. In `body`, `wg` is the workgroup, `l` the place in it and `li`
    /// the number in it.
    pub fn finish(
        self,
        name: String,
        size: [u32; 2],
        workgroups: [u64; 3],
        body: &str,
        limits: &Limits,
    ) -> Result<Kernel, PlanError> {
        let storage = self.bindings.iter().filter(|one| one.access != Access::Uniform).count();
        within("storage buffers in a kernel", storage as u64, u64::from(limits.storage_buffers))?;
        let available = u64::from(limits.workgroup_bytes);
        within("bytes of workgroup memory", self.shared_bytes, available)?;
        let invocations = u64::from(size[0]) * u64::from(size[1]);
        within("invocations in a workgroup", invocations, u64::from(limits.invocations))?;
        for count in workgroups {
            within("workgroups in a dispatch", count, u64::from(limits.workgroups))?;
        }
        let code = wgsl!(
            "$D$S$F@compute @workgroup_size($X,$Y)\nfn main(@builtin(workgroup_id) wg:vec3<u32>,\
             @builtin(local_invocation_id) l:vec3<u32>,@builtin(local_invocation_index) li:u32){\n\
             $B\n}\n",
            D = self.declarations,
            S = self.shared,
            F = self.functions.concat(),
            X = size[0],
            Y = size[1],
            B = body,
        );
        let workgroups = workgroups.map(|count| count as u32);
        Ok(Kernel { name, code, bindings: self.bindings, workgroups })
    }
}
