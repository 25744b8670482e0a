//! Record once, replay every step: [`Recorder`] writes kernel calls down and derives their backward calls,
//! [`Plan`] is the finished list with its memory planned, and a [device](crate::device) runs it.

mod bindings;
mod kernel;
mod memory;
mod real;
mod recorder;
mod recording;
mod step;
mod storage;
mod sum;

pub(crate) use bindings::with_bindings;
pub use bindings::{Aligned, Bindings, HostBuffer};
pub use kernel::{Access, Binding, Kernel, Needs, Shader, Twin, Variant};
pub(crate) use kernel::{elementwise, shader};
pub use real::Real;
pub use recorder::{Recorder, Target, Value};
pub use recording::{Call, Memory, Place, Plan, Region};
pub use step::Step;
pub use storage::{Element, Storage};
pub use sum::{Sum, add};
