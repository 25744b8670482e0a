// out = a, out = a + b, or the same added to what is there.
struct Parameters {
    len: u32,
    terms: u32,
    accumulate: u32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> a: array<real1>;
@group(0) @binding(2) var<storage, read> b: array<real2>;
@group(0) @binding(3) var<storage, read_write> out: array<real3>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let first = group_number(group, groups) * (1024u / together) + thread;
    for (var i = first; i < min(first + 1024u / together, parameters.len / together); i += 256u) {
        var sum = number(a[i]);
        if parameters.terms == 2u {
            sum += number(b[i]);
        }
        if parameters.accumulate != 0u {
            sum += number(out[i]);
        }
        out[i] = real3(sum);
    }
}
