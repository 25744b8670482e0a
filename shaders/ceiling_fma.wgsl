// Chains of multiply-adds in registers: acc = acc * factor + x, 32 chains a thread, and their sum at the end.
struct Parameters {
    len: u32,
    iterations: u32,
    factor: f32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = group_number(group, groups) * 256u + thread;
    if i >= parameters.len {
        return;
    }
    let factor = vec4(parameters.factor);
    let term = vec4(x[i]);
    let lanes = vec4(0.0, 1.0, 2.0, 3.0);
    var a = term + lanes;
    var b = term + lanes + 4.0;
    var c = term + lanes + 8.0;
    var d = term + lanes + 12.0;
    var e = term + lanes + 16.0;
    var f = term + lanes + 20.0;
    var g = term + lanes + 24.0;
    var h = term + lanes + 28.0;
    for (var n = 0u; n < parameters.iterations; n++) {
        // Two of each, so that the loop itself costs little.
        a = fma(a, factor, term);
        b = fma(b, factor, term);
        c = fma(c, factor, term);
        d = fma(d, factor, term);
        e = fma(e, factor, term);
        f = fma(f, factor, term);
        g = fma(g, factor, term);
        h = fma(h, factor, term);
        a = fma(a, factor, term);
        b = fma(b, factor, term);
        c = fma(c, factor, term);
        d = fma(d, factor, term);
        e = fma(e, factor, term);
        f = fma(f, factor, term);
        g = fma(g, factor, term);
        h = fma(h, factor, term);
    }
    y[i] = dot(((a + b) + (c + d)) + ((e + f) + (g + h)), vec4(1.0));
}
