// The product of tile.wgsl where everything comes in vectors of four: a tile of 64 x 64 or 128 x 128 of C = A B by 64 or
// 256 threads, each 8 x 8 outputs, in steps of 16 along the inner dimension. That is walked in runs, so that what is the
// same for a whole run is computed once. A thread loads 4 rows of A or 4 columns of B, or both where the tile is small, at
// 4 places of the inner dimension. The file that follows says what A, B and C are:
//     fn begin_run(number: u32) -> u32     makes ready and returns the run's length, a multiple of 4
//     fn load_a(k: u32) -> mat4x4<f32>     A at the thread's 4 rows; column j of the result is at k + j
//     fn load_b(k: u32) -> mat4x4<f32>     B at the thread's 4 columns; column j of the result is at k + j
//     fn store(row: u32, column: u32, c: vec4<f32>) C at columns column..column+4; must ignore what is outside
override tile: u32 = 64u;
override threads: u32 = tile * tile / 64u;
override vectors: u32 = 4u * tile;

var<workgroup> tile_a: array<vec4<f32>, vectors>; // [k 16][row tile / 4]
var<workgroup> tile_b: array<vec4<f32>, vectors>; // [k 16][column tile / 4]

// The 4 rows or columns of a tile that a thread loads. What is past the end is the last one once more: it gives sums
// that nobody stores.
fn lines_of(thread: u32, first: u32, lines: u32) -> vec4<u32> {
    return min(first + thread % (tile / 4u) * 4u + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(lines - 1u));
}

// The first of 4 that lie in one vector; their number is a multiple of 4.
fn line_of(thread: u32, first: u32, lines: u32) -> u32 {
    return min(first + thread % (tile / 4u) * 4u, lines - 4u);
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
    let across = tile / 8u;
    let wide = tile / 4u; // vectors of one k
    let upper = thread / across;
    let left = thread % across;
    let own_k = thread / wide % 4u * 4u;
    let place = own_k * wide + thread % wide;
    let loads_a = thread < tile;
    let loads_b = thread + tile >= threads;
    for (var number = first_run; number < last_run; number++) {
        let length = begin_run(number);
        for (var first_k = 0u; first_k < length; first_k += 16u) {
            var a: mat4x4<f32>;
            var b: mat4x4<f32>;
            if loads_a && first_k + own_k < length {
                a = load_a(first_k + own_k);
            }
            if loads_b && first_k + own_k < length {
                b = load_b(first_k + own_k);
            }
            workgroupBarrier();
            if loads_a {
                tile_a[place] = a[0];
                tile_a[place + wide] = a[1];
                tile_a[place + 2u * wide] = a[2];
                tile_a[place + 3u * wide] = a[3];
            }
            if loads_b {
                tile_b[place] = b[0];
                tile_b[place + wide] = b[1];
                tile_b[place + 2u * wide] = b[2];
                tile_b[place + 3u * wide] = b[3];
            }
            workgroupBarrier();
            let steps = min(16u, length - first_k);
            for (var i = 0u; i < steps; i++) {
                let a0 = tile_a[i * wide + upper];
                let a1 = tile_a[i * wide + upper + across];
                let b0 = tile_b[i * wide + left];
                let b1 = tile_b[i * wide + left + across];
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
    let row = first_row + upper * 4u;
    let low = row + tile / 2u;
    let column = first_column + left * 4u;
    let right = column + tile / 2u;
    store(row, column, c00); store(row, right, c01);
    store(row + 1u, column, c10); store(row + 1u, right, c11);
    store(row + 2u, column, c20); store(row + 2u, right, c21);
    store(row + 3u, column, c30); store(row + 3u, right, c31);
    store(low, column, c40); store(low, right, c41);
    store(low + 1u, column, c50); store(low + 1u, right, c51);
    store(low + 2u, column, c60); store(low + 2u, right, c61);
    store(low + 3u, column, c70); store(low + 3u, right, c71);
}
