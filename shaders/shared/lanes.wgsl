// A product C = A B for devices whose loads are dear beside their arithmetic and whose subgroups hand values round for
// next to nothing: drivers that run shaders on the CPU's vectors. One workgroup of 8 threads, which must lie in one
// subgroup, computes a 32 x 16 tile: each thread four rows, 8 apart, and all columns. Of B each thread loads two elements
// for all eight, of A what it needs itself; there is no workgroup memory and no barrier.
//
// The inner dimension is walked in runs, in which the places of A and B advance by constant steps. The file that follows
// says what A, B and C are:
//     fn run_at(number: u32) -> Run
//     fn load_a(place: u32) -> f32
//     fn load_b(place: u32) -> f32
//     fn store(row: u32, column: u32, c: vec4<f32>) C at columns column..column+4; must ignore what is outside
struct Run {
    first: u32, // k runs from here
    last: u32,  // to there
    a: vec4<u32>, // places of the thread's four rows of A at k = 0
    a_step: u32,
    // A is 0, and its place not looked at, but from this k on, for so many k.
    begin: vec4<u32>,
    count: vec4<u32>,
    b: vec2<u32>, // places of B in the thread's two columns at k = 0
    b_step: u32,
}

const LANES = 8u;
const TILE_ROWS = 32u;
const TILE_COLUMNS = 16u;

// The four rows and two columns of a tile that a thread loads. What is past the end is the last one once more: it gives
// sums that nobody stores.
fn rows_of(thread: u32, first: u32, rows: u32) -> vec4<u32> {
    return min(first + thread + vec4<u32>(0u, 8u, 16u, 24u), vec4<u32>(rows - 1u));
}
fn columns_of(thread: u32, first: u32, columns: u32) -> vec2<u32> {
    return min(first + thread + vec2<u32>(0u, 8u), vec2<u32>(columns - 1u));
}

fn four_of(value: f32, half: bool) -> vec4<f32> {
    if half {
        return vec4<f32>(subgroupBroadcast(value, 4u), subgroupBroadcast(value, 5u),
                         subgroupBroadcast(value, 6u), subgroupBroadcast(value, 7u));
    }
    return vec4<f32>(subgroupBroadcast(value, 0u), subgroupBroadcast(value, 1u),
                     subgroupBroadcast(value, 2u), subgroupBroadcast(value, 3u));
}

fn multiply_lanes(thread: u32, first_row: u32, first_column: u32, first_run: u32, last_run: u32) {
    let zero = vec4<f32>(0.0);
    // Row i of the thread's four: cij holds columns 4 j..4 j + 4. Named, since an indexed array of accumulators would
    // be kept in memory.
    var c00 = zero; var c01 = zero; var c02 = zero; var c03 = zero;
    var c10 = zero; var c11 = zero; var c12 = zero; var c13 = zero;
    var c20 = zero; var c21 = zero; var c22 = zero; var c23 = zero;
    var c30 = zero; var c31 = zero; var c32 = zero; var c33 = zero;
    for (var number = first_run; number < last_run; number++) {
        let run = run_at(number);
        for (var k = run.first; k < run.last; k++) {
            let inside = vec4<u32>(k) - run.begin < run.count;
            let place = select(vec4<u32>(0u), run.a + k * run.a_step, inside);
            let a = select(zero, vec4<f32>(load_a(place.x), load_a(place.y), load_a(place.z), load_a(place.w)), inside);
            let low = load_b(run.b.x + k * run.b_step);
            let high = load_b(run.b.y + k * run.b_step);
            let b0 = four_of(low, false);
            c00 = fma(a.xxxx, b0, c00); c10 = fma(a.yyyy, b0, c10); c20 = fma(a.zzzz, b0, c20); c30 = fma(a.wwww, b0, c30);
            let b1 = four_of(low, true);
            c01 = fma(a.xxxx, b1, c01); c11 = fma(a.yyyy, b1, c11); c21 = fma(a.zzzz, b1, c21); c31 = fma(a.wwww, b1, c31);
            let b2 = four_of(high, false);
            c02 = fma(a.xxxx, b2, c02); c12 = fma(a.yyyy, b2, c12); c22 = fma(a.zzzz, b2, c22); c32 = fma(a.wwww, b2, c32);
            let b3 = four_of(high, true);
            c03 = fma(a.xxxx, b3, c03); c13 = fma(a.yyyy, b3, c13); c23 = fma(a.zzzz, b3, c23); c33 = fma(a.wwww, b3, c33);
        }
    }
    let row = first_row + thread;
    let column = first_column;
    store(row, column, c00); store(row, column + 4u, c01); store(row, column + 8u, c02); store(row, column + 12u, c03);
    store(row + 8u, column, c10); store(row + 8u, column + 4u, c11);
    store(row + 8u, column + 8u, c12); store(row + 8u, column + 12u, c13);
    store(row + 16u, column, c20); store(row + 16u, column + 4u, c21);
    store(row + 16u, column + 8u, c22); store(row + 16u, column + 12u, c23);
    store(row + 24u, column, c30); store(row + 24u, column + 4u, c31);
    store(row + 24u, column + 8u, c32); store(row + 24u, column + 12u, c33);
}
