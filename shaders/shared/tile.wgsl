// One workgroup of 64 threads computes a 64 x 64 tile of a product C = A B, each thread 8 x 8 outputs, in steps of 8
// along the inner dimension k. The file that follows says what A, B and C are:
//     fn load_a(row: u32, k: u32) -> vec4<f32>     A at rows row..row+4 of column k, 0 outside
//     fn load_b(k: u32, column: u32) -> vec4<f32>  B at columns column..column+4 of row k, 0 outside
//     fn store(row: u32, column: u32, c: vec4<f32>) C at columns column..column+4; must ignore what is outside
var<workgroup> tile_a: array<vec4<f32>, 128>; // [k 8][row 64 / 4]
var<workgroup> tile_b: array<vec4<f32>, 128>; // [k 8][column 64 / 4]

fn multiply_tile(thread: u32, first_row: u32, first_column: u32, first_k: u32, last_k: u32) {
    let zero = vec4<f32>(0.0);
    // Row i of the thread's outputs: ci0 holds columns 0..4, ci1 columns 4..8. Named, since an indexed array of
    // accumulators would be kept in memory.
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
    for (var k = first_k; k < last_k; k += 8u) {
        // Neighbouring threads read neighbouring k of A, and neighbouring columns of B.
        let row = first_row + eighth * 8u;
        let a_low = load_a(row, k + rest);
        let a_high = load_a(row + 4u, k + rest);
        let column = first_column + rest * 8u;
        let b_low = load_b(k + eighth, column);
        let b_high = load_b(k + eighth, column + 4u);
        workgroupBarrier();
        tile_a[rest * 16u + eighth * 2u] = a_low;
        tile_a[rest * 16u + eighth * 2u + 1u] = a_high;
        tile_b[eighth * 16u + rest * 2u] = b_low;
        tile_b[eighth * 16u + rest * 2u + 1u] = b_high;
        workgroupBarrier();
        for (var i = 0u; i < 8u; i++) {
            let a0 = tile_a[i * 16u + eighth * 2u];
            let a1 = tile_a[i * 16u + eighth * 2u + 1u];
            let b0 = tile_b[i * 16u + rest * 2u];
            let b1 = tile_b[i * 16u + rest * 2u + 1u];
            c00 += a0.x * b0; c01 += a0.x * b1;
            c10 += a0.y * b0; c11 += a0.y * b1;
            c20 += a0.z * b0; c21 += a0.z * b1;
            c30 += a0.w * b0; c31 += a0.w * b1;
            c40 += a1.x * b0; c41 += a1.x * b1;
            c50 += a1.y * b0; c51 += a1.y * b1;
            c60 += a1.z * b0; c61 += a1.z * b1;
            c70 += a1.w * b0; c71 += a1.w * b1;
        }
    }
    let row = first_row + eighth * 8u;
    let column = first_column + rest * 8u;
    store(row, column, c00); store(row, column + 4u, c01);
    store(row + 1u, column, c10); store(row + 1u, column + 4u, c11);
    store(row + 2u, column, c20); store(row + 2u, column + 4u, c21);
    store(row + 3u, column, c30); store(row + 3u, column + 4u, c31);
    store(row + 4u, column, c40); store(row + 4u, column + 4u, c41);
    store(row + 5u, column, c50); store(row + 5u, column + 4u, c51);
    store(row + 6u, column, c60); store(row + 6u, column + 4u, c61);
    store(row + 7u, column, c70); store(row + 7u, column + 4u, c71);
}
