//! The list of a network's parameters: names, shapes and places in one flat buffer.

use super::tensor_source::TensorSource;
use super::transpose;
use crate::error::{Error, Result};
use crate::kernels::random::{Purpose, normal, picture_key, threefry2x32, uniform};
use rayon::prelude::*;
use std::collections::HashSet;

/// Tensors begin at a multiple of this many elements: 256 bytes of halves, which every GPU accepts for a binding.
const ALIGNMENT: usize = 128;

/// How a tensor lies in a checkpoint (PyTorch's order) and on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// The same on both: biases, norms, embedding tables.
    Same,
    /// A linear layer's weight: `[outputs, inputs]` there, `[inputs, outputs]` here.
    Linear,
    /// A convolution's weight: `[outputs, inputs, height, width]` there, `[height, width, inputs, outputs]` here.
    Convolution,
}

/// What a parameter is before training: PyTorch's defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initial {
    /// One number.
    Constant(f32),
    /// Uniform in (-bound, bound).
    Uniform(f32),
    /// Normal with this standard deviation.
    Normal(f32),
}

/// A tensor of a checkpoint: name, sizes, elements.
pub type NamedTensor = (String, Vec<usize>, Vec<f32>);

/// A tensor of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name in a diffusers checkpoint.
    pub name: String,
    /// Its sizes in a checkpoint.
    pub shape: Vec<usize>,
    /// How it lies here and there.
    pub layout: Layout,
    /// What it is before training.
    pub initial: Initial,
    /// Whether training changes it.
    pub trained: bool,
    /// First element in the flat buffer.
    pub offset: usize,
}

impl Parameter {
    /// Elements.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Its sizes on a device.
    pub fn device_shape(&self) -> Vec<usize> {
        match (self.layout, &self.shape[..]) {
            (Layout::Linear, &[outputs, inputs]) => vec![inputs, outputs],
            (Layout::Convolution, &[outputs, inputs, height, width]) => vec![height, width, inputs, outputs],
            (_, shape) => shape.to_vec(),
        }
    }

    /// The sizes `[outputs, inputs, taps]` of a weight that lies transposed on a device: `[taps, inputs, outputs]`.
    fn transposed(&self) -> Option<[usize; 3]> {
        match (self.layout, &self.shape[..]) {
            (Layout::Linear, &[outputs, inputs]) => Some([outputs, inputs, 1]),
            (Layout::Convolution, &[outputs, inputs, height, width]) => Some([outputs, inputs, height * width]),
            _ => None,
        }
    }

    /// From a checkpoint's order to a device's.
    pub fn to_device(&self, data: &[f32]) -> Vec<f32> {
        let mut device = vec![0.0; data.len()];
        self.copy_to_device(data, &mut device);
        device
    }

    /// As [`to_device`](Self::to_device), into what is there already.
    fn copy_to_device(&self, data: &[f32], device: &mut [f32]) {
        match self.transposed() {
            Some(sizes) => transpose::to_device(data, device, sizes),
            None => device.copy_from_slice(data),
        }
    }

    /// From a device's order to a checkpoint's.
    pub fn to_checkpoint(&self, data: &[f32]) -> Vec<f32> {
        match self.transposed() {
            Some(sizes) => {
                let mut checkpoint = vec![0.0; data.len()];
                transpose::to_checkpoint(data, &mut checkpoint, sizes);
                checkpoint
            }
            None => data.to_vec(),
        }
    }
}

/// A parameter's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ParameterId(pub(super) usize);

/// The parameters of a network, in the order in which its layers were made.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    list: Vec<Parameter>,
    len: usize,
}

impl Parameters {
    /// Adds a tensor at the end of the flat buffer.
    pub fn add(&mut self, name: String, shape: &[usize], layout: Layout, initial: Initial) -> ParameterId {
        self.push(Parameter { name, shape: shape.to_vec(), layout, initial, trained: true, offset: self.len })
    }

    /// Adds a tensor that training leaves as it is.
    pub fn add_fixed(&mut self, name: String, shape: &[usize], layout: Layout, initial: Initial) -> ParameterId {
        self.push(Parameter { name, shape: shape.to_vec(), layout, initial, trained: false, offset: self.len })
    }

    fn push(&mut self, parameter: Parameter) -> ParameterId {
        self.len = (self.len + parameter.len()).next_multiple_of(ALIGNMENT);
        self.list.push(parameter);
        ParameterId(self.list.len() - 1)
    }

    /// The parameter of a number.
    pub fn get(&self, id: ParameterId) -> &Parameter {
        &self.list[id.0]
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Parameter> {
        self.list.iter()
    }

    /// Elements of the flat buffer, with the gaps between tensors.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The runs of the flat buffer that training changes, as (first, length): all of it but the fixed tensors.
    pub fn trained_runs(&self) -> Vec<(usize, usize)> {
        let mut runs = Vec::new();
        let mut first = 0;
        for fixed in self.list.iter().filter(|parameter| !parameter.trained) {
            runs.push((first, fixed.offset - first));
            first = (fixed.offset + fixed.len()).next_multiple_of(ALIGNMENT);
        }
        runs.push((first, self.len - first));
        runs.retain(|&(_, len)| len > 0);
        runs
    }

    /// Elements of all tensors: what people call the number of parameters.
    pub fn count(&self) -> usize {
        self.list.iter().map(Parameter::len).sum()
    }

    /// The flat buffer before training, a function of the seed alone.
    pub fn initialize(&self, seed: u64) -> Vec<f32> {
        let mut flat = vec![0.0; self.len];
        for (number, parameter) in self.list.iter().enumerate() {
            let key = picture_key([seed as u32, (seed >> 32) as u32], Purpose::Initialization, number as u32);
            let value = |index: usize| match parameter.initial {
                Initial::Constant(value) => value,
                Initial::Uniform(bound) => {
                    bound * (2.0 * uniform::<f32>(threefry2x32(key, [0, index as u32])[0]) - 1.0)
                }
                Initial::Normal(deviation) => deviation * normal::<f32>(key, 0, index),
            };
            let values: Vec<f32> = (0..parameter.len()).map(value).collect();
            flat[parameter.offset..][..parameter.len()].copy_from_slice(&parameter.to_device(&values));
        }
        flat
    }

    /// The flat buffer from a checkpoint's tensors, which are read one at a time on every core. Nothing is allocated
    /// before all of them are known to be there.
    ///
    /// # Errors
    /// [`Input`](Error::Input) naming the first tensor that is missing, has another shape or holds NaN or infinity, or
    /// one that the network does not have; what reading them says.
    pub fn flatten(&self, tensors: &impl TensorSource, source: &str) -> Result<Vec<f32>> {
        for parameter in &self.list {
            let (name, expected) = (&parameter.name, &parameter.shape);
            match tensors.shape(name) {
                None => return Err(Error::input(format!("{source}: tensor {name} {expected:?} is missing"))),
                Some(shape) if shape != expected => {
                    return Err(Error::input(format!(
                        "{source}: tensor {name} has shape {shape:?}, expected {expected:?}"
                    )));
                }
                Some(_) => {}
            }
        }
        let known: HashSet<&str> = self.list.iter().map(|p| p.name.as_str()).collect();
        if let Some(name) = tensors.names().filter(|name| !known.contains(name)).min() {
            return Err(Error::input(format!("{source}: tensor {name} has no place in this network")));
        }
        let mut flat = vec![0.0; self.len];
        self.places(&mut flat).into_par_iter().with_max_len(1).try_for_each(|(parameter, place)| {
            let data = tensors.read(&parameter.name)?;
            if let Some(bad) = data.iter().find(|value| !value.is_finite()) {
                let name = &parameter.name;
                return Err(Error::input(format!("{source}: tensor {name} holds {bad}, expected finite numbers")));
            }
            parameter.copy_to_device(&data, place);
            Ok(())
        })?;
        Ok(flat)
    }

    /// Every parameter with its place in the flat buffer.
    fn places<'a>(&'a self, mut flat: &'a mut [f32]) -> Vec<(&'a Parameter, &'a mut [f32])> {
        let mut places = Vec::with_capacity(self.list.len());
        let mut begin = 0;
        for parameter in &self.list {
            let (_, from) = flat.split_at_mut(parameter.offset - begin);
            let (place, rest) = from.split_at_mut(parameter.len());
            begin = parameter.offset + parameter.len();
            flat = rest;
            places.push((parameter, place));
        }
        places
    }

    /// A checkpoint's tensors from the flat buffer, by name: (shape, data).
    pub fn unflatten(&self, flat: &[f32]) -> Vec<NamedTensor> {
        let tensor = |p: &Parameter| (p.name.clone(), p.shape.clone(), p.to_checkpoint(&flat[p.offset..][..p.len()]));
        self.list.iter().map(tensor).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_go_there_and_back() {
        let mut parameters = Parameters::default();
        let shapes: [(&[usize], Layout); 3] =
            [(&[5, 3, 3, 2], Layout::Convolution), (&[70, 7], Layout::Linear), (&[9], Layout::Same)];
        for (shape, layout) in shapes {
            let id = parameters.add("x".into(), shape, layout, Initial::Normal(1.0));
            let parameter = parameters.get(id);
            let data: Vec<f32> = (0..parameter.len()).map(|i| i as f32).collect();
            assert_eq!(parameter.to_checkpoint(&parameter.to_device(&data)), data);
            assert_eq!(parameter.offset % ALIGNMENT, 0);
        }
        // Output 1, input 2, row 0, column 1 of the 5 x 3 x 3 x 2 convolution.
        let data: Vec<f32> = (0..90).map(|i| i as f32).collect();
        let device = parameters.get(ParameterId(0)).to_device(&data);
        assert_eq!(device[(3 + 2) * 5 + 1], data[(3 + 2) * 6 + 1]);
    }
}
