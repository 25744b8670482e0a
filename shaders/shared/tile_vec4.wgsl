// The product of tile.wgsl where everything comes in vectors of four: 64 threads compute a 64 x 64 tile of C = A B, each
// thread 8 x 8 outputs, in steps of 16 along the inner dimension. That is walked in runs, so that what is the same for a
// whole run is computed once. A thread loads 4 rows of A and 4 columns of B, at 4 places of the inner dimension. The file
// that follows says what A, B and C are:
//     fn begin_run(number: u32) -> u32     makes ready and returns the run's length, a multiple of 4
//     fn load_a(k: u32) -> mat4x4<f32>     A at the thread's 4 rows; column j of the result is at k + j
//     fn load_b(k: u32) -> mat4x4<f32>     B at the thread's 4 columns; column j of the result is at k + j
//     fn store(row: u32, column: u32, c: vec4<f32>) C at columns column..column+4; must ignore what is outside
var<workgroup> tile_a: array<vec4<f32>, 256>; // [k 16][row 64 / 4]
var<workgroup> tile_b: array<vec4<f32>, 256>; // [k 16][column 64 / 4]

// The 4 rows or columns of a tile that a thread loads. What is past the end is the last one once more: it gives sums
// that nobody stores.
fn lines_of(thread: u32, first: u32, lines: u32) -> vec4<u32> {
    return min(first + thread % 16u * 4u + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(lines - 1u));
}

// The first of 4 that lie in one vector; their number is a multiple of 4.
fn line_of(thread: u32, first: u32, lines: u32) -> u32 {
    return min(first + thread % 16u * 4u, lines - 4u);
}

fn multiply_tile(thread: u32, first_row: u32, first_column: u32, first_run: u32, last_run: u32) {
    let zero = vec4<f32>(0.0);
    // Row i of the thread's outputs, 4 from each half of the tile: ci0 holds columns of the left half, ci1 of the right
    // one, so that neighbouring threads read neighbouring vectors. Named, since an indexed array of accumulators would
    // be kept in memory.
    var c00 = zero; var c01 = zero;
    var c10 = zero; var c11 = zero;
    var c20 = zero; var c21 = zero;
    var c30 = zero; var c31 = zero;
    var c40 = zero; var c41 = zero;
    var c50 = zero; var c51 = zero;
    var c60 = zero; var c61 = zero;
    var c70 = zero; var c71 = zero;
    let eighth = thread / 8u;
    let rest = thread % 8u;
    let own_k = thread / 16u * 4u;
    let place = own_k * 16u + thread % 16u;
    for (var number = first_run; number < last_run; number++) {
        let length = begin_run(number);
        for (var first_k = 0u; first_k < length; first_k += 16u) {
            var a: mat4x4<f32>;
            var b: mat4x4<f32>;
            if first_k + own_k < length {
                a = load_a(first_k + own_k);
                b = load_b(first_k + own_k);
            }
            workgroupBarrier();
            tile_a[place] = a[0]; tile_a[place + 16u] = a[1]; tile_a[place + 32u] = a[2]; tile_a[place + 48u] = a[3];
            tile_b[place] = b[0]; tile_b[place + 16u] = b[1]; tile_b[place + 32u] = b[2]; tile_b[place + 48u] = b[3];
            workgroupBarrier();
            let steps = min(16u, length - first_k);
            for (var i = 0u; i < steps; i++) {
                let a0 = tile_a[i * 16u + eighth];
                let a1 = tile_a[i * 16u + eighth + 8u];
                let b0 = tile_b[i * 16u + rest];
                let b1 = tile_b[i * 16u + rest + 8u];
                c00 = fma(a0.xxxx, b0, c00); c01 = fma(a0.xxxx, b1, c01);
                c10 = fma(a0.yyyy, b0, c10); c11 = fma(a0.yyyy, b1, c11);
                c20 = fma(a0.zzzz, b0, c20); c21 = fma(a0.zzzz, b1, c21);
                c30 = fma(a0.wwww, b0, c30); c31 = fma(a0.wwww, b1, c31);
                c40 = fma(a1.xxxx, b0, c40); c41 = fma(a1.xxxx, b1, c41);
                c50 = fma(a1.yyyy, b0, c50); c51 = fma(a1.yyyy, b1, c51);
                c60 = fma(a1.zzzz, b0, c60); c61 = fma(a1.zzzz, b1, c61);
                c70 = fma(a1.wwww, b0, c70); c71 = fma(a1.wwww, b1, c71);
            }
        }
    }
    let row = first_row + eighth * 4u;
    let column = first_column + rest * 4u;
    store(row, column, c00); store(row, column + 32u, c01);
    store(row + 1u, column, c10); store(row + 1u, column + 32u, c11);
    store(row + 2u, column, c20); store(row + 2u, column + 32u, c21);
    store(row + 3u, column, c30); store(row + 3u, column + 32u, c31);
    store(row + 32u, column, c40); store(row + 32u, column + 32u, c41);
    store(row + 33u, column, c50); store(row + 33u, column + 32u, c51);
    store(row + 34u, column, c60); store(row + 34u, column + 32u, c61);
    store(row + 35u, column, c70); store(row + 35u, column + 32u, c71);
}
