// convolution_forward.wgsl for at most 4 outputs and inputs in fours: a thread has all outputs of one pixel, summed over
// every `sharers`th vector of its inputs. The weights of 4 inputs are `outputs` vectors.
@group(0) @binding(1) var<storage, read> x: array<real1x4>;
@group(0) @binding(2) var<storage, read> w: array<real2x4>;
@group(0) @binding(3) var<storage, read> bias: array<real3>;
@group(0) @binding(4) var<storage, read> per_picture: array<real4>; // [picture][output]
@group(0) @binding(5) var<storage, read> residual: array<real5>; // as y
@group(0) @binding(6) var<storage, read_write> y: array<real6>;

override outputs: u32;
// 1, 2, 4 or 8: how many threads side by side share a pixel.
override sharers: u32;

var<workgroup> sums: array<vec4<f32>, 64>;

// The weights of the 4 inputs of vector `place`, one input a column, with zeros for the outputs that are not there.
fn weights_of(place: u32) -> mat4x4<f32> {
    let first = place * outputs;
    let a = vec4<f32>(w[first]);
    if outputs == 1u {
        return mat4x4<f32>(
            vec4<f32>(a.x, 0.0, 0.0, 0.0),
            vec4<f32>(a.y, 0.0, 0.0, 0.0),
            vec4<f32>(a.z, 0.0, 0.0, 0.0),
            vec4<f32>(a.w, 0.0, 0.0, 0.0),
        );
    }
    let b = vec4<f32>(w[first + 1u]);
    if outputs == 2u {
        return mat4x4<f32>(
            vec4<f32>(a.xy, 0.0, 0.0),
            vec4<f32>(a.zw, 0.0, 0.0),
            vec4<f32>(b.xy, 0.0, 0.0),
            vec4<f32>(b.zw, 0.0, 0.0),
        );
    }
    let c = vec4<f32>(w[first + 2u]);
    if outputs == 3u {
        return mat4x4<f32>(
            vec4<f32>(a.xyz, 0.0),
            vec4<f32>(a.w, b.xy, 0.0),
            vec4<f32>(b.zw, c.x, 0.0),
            vec4<f32>(c.yzw, 0.0),
        );
    }
    return mat4x4<f32>(a, b, c, vec4<f32>(w[first + 3u]));
}

fn store(pixel: u32, picture: u32, output: u32, value: f32) {
    var sum = value;
    if parameters.has_bias != 0u {
        sum += f32(bias[output]);
    }
    if parameters.has_per_picture != 0u {
        sum += f32(per_picture[picture * outputs + output]);
    }
    let place = pixel * outputs + output;
    if parameters.has_residual != 0u {
        sum += f32(residual[place]);
    }
    y[place] = real6(sum);
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let g = parameters.geometry;
    let pixels = g.pictures * g.out_height * g.out_width;
    let first_pixel = group_number(group, groups) * (64u / sharers);
    if first_pixel >= pixels {
        return;
    }
    // Threads past the end do the last pixel's work once more.
    let pixel = min(first_pixel + thread / sharers, pixels - 1u);
    let out_row = pixel / g.out_width;
    let picture = out_row / g.out_height;
    let row = out_row % g.out_height * g.stride - g.before;
    let column = pixel % g.out_width * g.stride - g.before;
    let vectors = g.inputs / 4u;
    var sum = vec4<f32>(0.0);
    for (var i = 0u; i < g.kernel; i++) {
        for (var j = 0u; j < g.kernel; j++) {
            // Padding wraps around to a huge number, which the comparison with the size sorts out.
            if row + i >= g.height || column + j >= g.width {
                continue;
            }
            let x_first = ((picture * g.height + row + i) * g.width + column + j) * vectors;
            let w_first = (i * g.kernel + j) * vectors;
            for (var k = thread % sharers; k < vectors; k += sharers) {
                sum += weights_of(w_first + k) * vec4<f32>(x[x_first + k]);
            }
        }
    }
    if sharers > 1u {
        sums[thread] = sum;
        workgroupBarrier();
        for (var other = 1u; other < sharers; other++) {
            sum += sums[(thread + other) % 64u];
        }
    }
    if thread % sharers == 0u && first_pixel + thread / sharers < pixels {
        store(pixel, picture, 0u, sum.x);
        if outputs > 1u {
            store(pixel, picture, 1u, sum.y);
        }
        if outputs > 2u {
            store(pixel, picture, 2u, sum.z);
        }
        if outputs > 3u {
            store(pixel, picture, 3u, sum.w);
        }
    }
}
