// The product of tile_vec4.wgsl by units that multiply small matrices, side x side, for a whole subgroup: the factors are
// halves, the sums single. A tile of 4 side x 4 side of C = A B by 128 threads. A subgroup has a quarter of the tile, which
// is four matrices; subgroups of more than 32 threads are fewer, and take the quarters in several rounds. The file that
// follows is what follows tile_vec4.wgsl, with load_a, load_b, store and begin_run.
const tile = 4u * side;
const threads = 128u;
const steps = 2048u / tile; // along the inner dimension at a time

var<workgroup> left: array<f16, 2048>; // [k steps][row tile]
var<workgroup> right: array<f16, 2048>; // [k steps][column tile]
var<workgroup> sums: array<f32, 4u * side * side>; // a matrix of each subgroup

fn lines_of(thread: u32, first: u32, lines: u32) -> vec4<u32> {
    return min(first + thread % side * 4u + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(lines - 1u));
}

fn line_of(thread: u32, first: u32, lines: u32) -> u32 {
    return min(first + thread % side * 4u, lines - 4u);
}

fn keep_left(place: u32, a: vec4<f32>) {
    left[place] = f16(a.x); left[place + 1u] = f16(a.y); left[place + 2u] = f16(a.z); left[place + 3u] = f16(a.w);
}

fn keep_right(place: u32, b: vec4<f32>) {
    right[place] = f16(b.x); right[place + 1u] = f16(b.y); right[place + 2u] = f16(b.z); right[place + 3u] = f16(b.w);
}

// Hands on the matrix that every subgroup has put into sums, (row, column) in the tile if its quarter is the first.
fn store_sums(thread: u32, first_quarter: u32, row: u32, column: u32) {
    workgroupBarrier();
    for (var i = 4u * thread; i < subgroup_count * side * side; i += 4u * threads) {
        let quarter = first_quarter + i / (side * side);
        let inner = i % (side * side);
        store(
            row + quarter / 2u * 2u * side + inner / side,
            column + quarter % 2u * 2u * side + inner % side,
            vec4<f32>(sums[i], sums[i + 1u], sums[i + 2u], sums[i + 3u]),
        );
    }
    workgroupBarrier();
}

fn multiply_tile(thread: u32, first_row: u32, first_column: u32, first_run: u32, last_run: u32) {
    count_subgroups(thread);
    let own_k = thread / side * 4u;
    let place = own_k * tile + thread % side * 4u;
    let own_sums = subgroup_number * side * side;
    for (var first_quarter = 0u; first_quarter < 4u; first_quarter += subgroup_count) {
        let quarter = first_quarter + subgroup_number;
        let upper = quarter / 2u * 2u * side;
        let leftmost = quarter % 2u * 2u * side;
        var c00 = Sums(); var c01 = Sums();
        var c10 = Sums(); var c11 = Sums();
        for (var number = first_run; number < last_run; number++) {
            let length = begin_run(number);
            for (var first_k = 0u; first_k < length; first_k += steps) {
                var a = mat4x4<f32>();
                var b = mat4x4<f32>();
                if first_k + own_k < length {
                    a = load_a(first_k + own_k);
                    b = load_b(first_k + own_k);
                }
                workgroupBarrier();
                keep_left(place, a[0]); keep_left(place + tile, a[1]);
                keep_left(place + 2u * tile, a[2]); keep_left(place + 3u * tile, a[3]);
                keep_right(place, b[0]); keep_right(place + tile, b[1]);
                keep_right(place + 2u * tile, b[2]); keep_right(place + 3u * tile, b[3]);
                workgroupBarrier();
                // What is past the run's end was kept as zeros.
                for (var k = 0u; k < min(steps, length - first_k); k += side) {
                    let a0 = coopLoad<Left>(&left[k * tile + upper], tile);
                    let a1 = coopLoad<Left>(&left[k * tile + upper + side], tile);
                    let b0 = coopLoadT<Right>(&right[k * tile + leftmost], tile);
                    let b1 = coopLoadT<Right>(&right[k * tile + leftmost + side], tile);
                    c00 = coopMultiplyAdd(a0, b0, c00); c01 = coopMultiplyAdd(a0, b1, c01);
                    c10 = coopMultiplyAdd(a1, b0, c10); c11 = coopMultiplyAdd(a1, b1, c11);
                }
            }
        }
        coopStoreT(c00, &sums[own_sums], side);
        store_sums(thread, first_quarter, first_row, first_column);
        coopStoreT(c01, &sums[own_sums], side);
        store_sums(thread, first_quarter, first_row, first_column + side);
        coopStoreT(c10, &sums[own_sums], side);
        store_sums(thread, first_quarter, first_row + side, first_column);
        coopStoreT(c11, &sums[own_sums], side);
        store_sums(thread, first_quarter, first_row + side, first_column + side);
    }
}
