//! One operation: its shader, what each binding is, and its host twin.

use super::bindings::Bindings;
use super::real::Real;
use super::storage::Element;
use std::fmt::Debug;

/// Storage bindings that a kernel has at most: what every GPU allows a shader.
pub(super) const MOST_BINDINGS: usize = 8;

/// A WGSL file, and the files of `shaders/shared/` that come before it.
#[derive(Clone, Copy, Debug)]
pub struct Shader {
    /// The file's name without `.wgsl`; also the kernel's name in tables.
    pub name: &'static str,
    /// The shared files' texts, then its own.
    pub sources: &'static [&'static str],
}

impl Shader {
    /// The text that is compiled where bit k of `halves` says that binding k (the shader's number less one) holds
    /// halves. A shader that takes them names the elements of its binding n `realn`, or `realnx4` in vectors of 4; it
    /// converts with `f32(..)` what it reads and with `realn(..)` what it writes. After the shared file `fours`, `realn`
    /// is a vector itself.
    pub fn source(&self, halves: u32) -> String {
        let mut text = String::from(if halves == 0 { "" } else { "enable f16;\n" });
        if self.names("coop_mat") {
            text += "enable wgpu_cooperative_matrix;\n";
        }
        let in_fours = self.names("alias number = vec4<f32>;");
        for number in 1..=MOST_BINDINGS {
            let real = if halves >> (number - 1) & 1 == 1 { "f16" } else { "f32" };
            if self.names(&format!("real{number}")) {
                let element = if in_fours { format!("vec4<{real}>") } else { real.into() };
                text += &format!("alias real{number} = {element};\n");
                for lanes in [2, 4].into_iter().filter(|lanes| self.names(&format!("real{number}x{lanes}"))) {
                    text += &format!("alias real{number}x{lanes} = vec{lanes}<{real}>;\n");
                }
            }
        }
        self.sources.iter().for_each(|source| text += source);
        text
    }

    fn names(&self, word: &str) -> bool {
        self.sources.iter().any(|source| source.contains(word))
    }

    /// Whether the bindings of these bits may hold halves.
    pub fn takes_halves(&self, halves: u32) -> bool {
        let wanted = (0..MOST_BINDINGS).filter(|k| halves >> k & 1 == 1);
        wanted.into_iter().all(|k| self.names(&format!("array<real{}", k + 1)))
    }
}

/// `shader!("name")` or `shader!("name", "shared one", ...)`: the files' texts, compiled into the program.
macro_rules! shader {
    ($name:literal $(, $shared:literal)*) => {
        $crate::plan::Shader {
            name: $name,
            sources: &[
                $(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/shared/", $shared, ".wgsl")),)*
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $name, ".wgsl")),
            ],
        }
    };
}
pub(crate) use shader;

/// `elementwise!(len, "name", "shared one", ...)`: the shader after the shared file `fours` where `len` is a multiple of
/// four, else after `ones`.
macro_rules! elementwise {
    ($len:expr, $name:literal $(, $shared:literal)*) => {
        if $len.is_multiple_of(4) {
            $crate::plan::shader!($name, "fours" $(, $shared)*)
        } else {
            $crate::plan::shader!($name, "ones" $(, $shared)*)
        }
    };
}
pub(crate) use elementwise;

/// What a variant needs beside what every GPU has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    #[default]
    Nothing,
    /// Threads that hand values round, at least 8 in a subgroup.
    Subgroups,
    /// Subgroups of at least 32 threads that multiply matrices of this many rows and columns together, halves with sums
    /// in single precision.
    CooperativeMatrices(u32),
}

/// One way for a GPU to compute a kernel. All variants of a kernel have the same bindings and the same parameter block.
#[derive(Clone, Debug)]
pub struct Variant {
    /// What it is called in tables and where choices are kept; unique within the kernel.
    pub name: &'static str,
    /// The WGSL, as for [`Kernel::shader`].
    pub shader: Shader,
    /// Values of its `override` constants.
    pub constants: Vec<(&'static str, f64)>,
    /// Workgroups in one dispatch, as for [`Kernel::groups`].
    pub groups: usize,
    /// Left out where the device has not got it.
    pub needs: Needs,
}

impl Variant {
    /// A shader without constants.
    pub fn new(name: &'static str, shader: Shader, groups: usize) -> Self {
        Self { name, shader, constants: Vec::new(), groups, needs: Needs::Nothing }
    }

    /// The same with a need.
    pub fn needing(self, needs: Needs) -> Self {
        Self { needs, ..self }
    }

    /// Whether it takes bindings of which those of these bits hold halves. Cooperative matrices take nothing else as
    /// factors, which are every product's first two bindings.
    pub fn takes_halves(&self, halves: u32) -> bool {
        let multiplies_halves = matches!(self.needs, Needs::CooperativeMatrices(_));
        self.shader.takes_halves(halves) && (!multiplies_halves || halves & 0b11 == 0b11)
    }
}

/// How a kernel uses a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only read.
    Read,
    /// Every element is written, none is read.
    Write,
    /// Read and written, or written in part.
    ReadWrite,
}

/// One storage binding of a kernel: what it holds, how many elements, and how they are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Read or written.
    pub access: Access,
    /// Floats or integers.
    pub element: Element,
    /// Elements that the kernel may touch. The recorder holds every call to it: the shaders run unchecked.
    pub len: usize,
}

impl Binding {
    /// Floats that are read.
    pub const fn read(len: usize) -> Self {
        Self { access: Access::Read, element: Element::F32, len }
    }
    /// Floats of which every one is written and none read.
    pub const fn write(len: usize) -> Self {
        Self { access: Access::Write, element: Element::F32, len }
    }
    /// Floats that are updated in place.
    pub const fn update(len: usize) -> Self {
        Self { access: Access::ReadWrite, element: Element::F32, len }
    }
    /// [`Binding::update`] where the kernel adds to what is there, else [`Binding::write`].
    pub const fn write_or_add(len: usize, accumulate: bool) -> Self {
        if accumulate { Self::update(len) } else { Self::write(len) }
    }
    /// The same binding, holding integers.
    pub const fn integers(self) -> Self {
        Self { element: Element::U32, ..self }
    }
}

/// What a kernel computes, in plain Rust over slices: the reference that its shader is tested against, and, in
/// `f64`, the function whose gradients are checked. Clear before fast.
pub trait Twin<T: Real> {
    /// Computes what one dispatch of the shader computes.
    fn twin(&self, io: &mut Bindings<T>);
}

/// One operation with its sizes: the shader and its parameters for the GPU, the twin for the host.
pub trait Kernel: Twin<f32> + Twin<f64> + Debug + Send + Sync {
    /// The WGSL. Its entry point is `main`; storage bindings are numbered from 1 in group 0 in the order of
    /// [`Kernel::bindings`]; binding 0 is the uniform block of [`Kernel::parameters`]. A shader that reads the
    /// [`Step`](super::Step) names the shared file `step`.
    fn shader(&self) -> Shader;

    /// Values of the shader's `override` constants.
    fn constants(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }

    /// The uniform block, as words in the order of the WGSL struct (floats by their bits).
    fn parameters(&self) -> Vec<u32>;

    /// The storage bindings, in order.
    fn bindings(&self) -> Vec<Binding>;

    /// Workgroups in one dispatch. A device splits them over two dimensions where there are more than its limit;
    /// the shader puts the number together again with `group_number` of the shared file `grid`.
    fn groups(&self) -> usize;

    /// The ways in which a GPU can compute this at these sizes, at least one. The first is taken where nothing was
    /// measured; a variant that cannot take these sizes is left out. What a device can hold a choice for is one
    /// kernel at one set of sizes: its [`Debug`] text.
    fn variants(&self) -> Vec<Variant> {
        let (shader, constants, groups) = (self.shader(), self.constants(), self.groups());
        vec![Variant { constants, ..Variant::new(shader.name, shader, groups) }]
    }

    /// Floating-point operations, for benchmarks and for cutting long submissions: 2 for a multiply-add.
    fn flops(&self) -> u64 {
        self.bindings().iter().map(|b| b.len as u64).max().unwrap_or(0)
    }

    /// The host device's implementation: the twin, unless a faster variant stands beside it.
    fn host(&self, io: &mut Bindings<f32>) {
        self.twin(io);
    }
}
