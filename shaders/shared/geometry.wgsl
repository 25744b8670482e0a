// The sizes of a 2-D convolution of NHWC pictures with an HWIO kernel: src/kernels/geometry.rs.
struct Geometry {
    pictures: u32,
    height: u32,
    width: u32,
    inputs: u32,
    out_height: u32,
    out_width: u32,
    outputs: u32,
    kernel: u32,
    stride: u32,
    before: u32,
}
