//! The sizes of a 2-D convolution.

/// A convolution of NHWC pictures with a square HWIO kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Pictures.
    pub pictures: usize,
    /// Height of the input.
    pub height: usize,
    /// Width of the input.
    pub width: usize,
    /// Channels of the input.
    pub inputs: usize,
    /// Channels of the output.
    pub outputs: usize,
    /// Height and width of the kernel.
    pub kernel: usize,
    /// Pixels from one output to the next.
    pub stride: usize,
    /// Zeros before the first row and column.
    pub before: usize,
    /// Zeros after the last row and column.
    pub after: usize,
}

impl Geometry {
    /// Height of the output.
    pub fn out_height(&self) -> usize {
        (self.height + self.before + self.after - self.kernel) / self.stride + 1
    }

    /// Width of the output.
    pub fn out_width(&self) -> usize {
        (self.width + self.before + self.after - self.kernel) / self.stride + 1
    }

    /// Pixels of all outputs.
    pub fn out_pixels(&self) -> usize {
        self.pictures * self.out_height() * self.out_width()
    }

    /// Pixels of all inputs.
    pub fn in_pixels(&self) -> usize {
        self.pictures * self.height * self.width
    }

    /// Elements of the input.
    pub fn input_len(&self) -> usize {
        self.pictures * self.height * self.width * self.inputs
    }

    /// Elements of the output.
    pub fn output_len(&self) -> usize {
        self.out_pixels() * self.outputs
    }

    /// Rows of the weight seen as a matrix of `outputs` columns: kernel rows, kernel columns, input channels.
    pub fn depth(&self) -> usize {
        self.kernel * self.kernel * self.inputs
    }

    /// Whether both numbers of channels are multiples of 4, so that they load as vectors.
    pub fn has_channels_in_fours(&self) -> bool {
        self.inputs.is_multiple_of(4) && self.outputs.is_multiple_of(4)
    }

    /// Elements of the weight.
    pub fn weight_len(&self) -> usize {
        self.depth() * self.outputs
    }

    /// 2 for each multiply-add of the convolution or of either of its gradients.
    pub fn flops(&self) -> u64 {
        2 * self.out_pixels() as u64 * self.weight_len() as u64
    }

    /// The shaders' uniform block (`shaders/shared/geometry.wgsl`).
    pub fn parameters(&self) -> Vec<u32> {
        let Self { pictures, height, width, inputs, outputs, kernel, stride, before, .. } = *self;
        let (out_height, out_width) = (self.out_height(), self.out_width());
        // Two words of padding: a uniform struct that is followed by something takes a multiple of 16 bytes.
        [pictures, height, width, inputs, out_height, out_width, outputs, kernel, stride, before, 0, 0]
            .map(|size| size as u32)
            .to_vec()
    }

    /// The input row (or column) that kernel row `k` sees from output row `out`, if it is not padding.
    pub fn input_at(&self, out: usize, k: usize, size: usize) -> Option<usize> {
        (out * self.stride + k).checked_sub(self.before).filter(|&place| place < size)
    }
}
