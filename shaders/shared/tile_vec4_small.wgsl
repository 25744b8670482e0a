// tile_vec4.wgsl for few outputs, so that there are more workgroups: a tile of 32 x 32 by 64 threads, each 4 x 4 outputs, in
// steps of 32 along the inner dimension. What follows is the same.
override tile: u32 = 32u;
const threads = 64u;

var<workgroup> tile_a: array<vec4<f32>, 256>; // [k 32][row 32 / 4]
var<workgroup> tile_b: array<vec4<f32>, 256>; // [k 32][column 32 / 4]

fn lines_of(thread: u32, first: u32, lines: u32) -> vec4<u32> {
    return min(first + thread % 8u * 4u + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(lines - 1u));
}

fn line_of(thread: u32, first: u32, lines: u32) -> u32 {
    return min(first + thread % 8u * 4u, lines - 4u);
}

fn multiply_tile(thread: u32, first_row: u32, first_column: u32, first_run: u32, last_run: u32) {
    var c0 = vec4<f32>(0.0);
    var c1 = vec4<f32>(0.0);
    var c2 = vec4<f32>(0.0);
    var c3 = vec4<f32>(0.0);
    let upper = thread / 8u;
    let left = thread % 8u;
    let own_k = upper * 4u;
    let place = own_k * 8u + left;
    for (var number = first_run; number < last_run; number++) {
        let length = begin_run(number);
        for (var first_k = 0u; first_k < length; first_k += 32u) {
            var a: mat4x4<f32>;
            var b: mat4x4<f32>;
            if first_k + own_k < length {
                a = load_a(first_k + own_k);
                b = load_b(first_k + own_k);
            }
            workgroupBarrier();
            tile_a[place] = a[0]; tile_a[place + 8u] = a[1]; tile_a[place + 16u] = a[2]; tile_a[place + 24u] = a[3];
            tile_b[place] = b[0]; tile_b[place + 8u] = b[1]; tile_b[place + 16u] = b[2]; tile_b[place + 24u] = b[3];
            workgroupBarrier();
            let steps = min(32u, length - first_k);
            for (var i = 0u; i < steps; i++) {
                let a0 = tile_a[i * 8u + upper];
                let b0 = tile_b[i * 8u + left];
                c0 = fma(a0.xxxx, b0, c0);
                c1 = fma(a0.yyyy, b0, c1);
                c2 = fma(a0.zzzz, b0, c2);
                c3 = fma(a0.wwww, b0, c3);
            }
        }
    }
    let row = first_row + upper * 4u;
    let column = first_column + left * 4u;
    store(row, column, c0);
    store(row + 1u, column, c1);
    store(row + 2u, column, c2);
    store(row + 3u, column, c3);
}
