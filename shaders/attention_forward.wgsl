// o = softmax(scale q k^T) v without the matrix of scores, and the log of each softmax's sum. A workgroup has 64 queries of
// a head and walks over the keys, 64 at a time; what it has summed so far is scaled down whenever a larger score turns
// up (Milakov & Gimelshein 2018, arXiv 1805.02867).
@group(0) @binding(1) var<storage, read> q: array<real1>; // [picture][query][head][channel]
@group(0) @binding(2) var<storage, read> k: array<real2>; // [picture][token][head][channel]
@group(0) @binding(3) var<storage, read> v: array<real3>;
@group(0) @binding(4) var<storage, read_write> o: array<real4>; // as q
@group(0) @binding(5) var<storage, read_write> log_sum: array<f32>; // [picture][query][head]

const QUERY: u32 = 0u;
const KEY: u32 = 1u;
const VALUE: u32 = 2u;
const LOWEST: f32 = -3.4028234e38;

var<workgroup> before: array<vec4<f32>, 16>; // [query 64 / 4]: the factor of what was summed in the tiles before
var<workgroup> after: array<vec4<f32>, 16>; // and that of the sum with this tile

fn element(operand: u32, row: u32, channel: u32) -> f32 {
    let rows = select(parameters.tokens, parameters.queries, operand == QUERY);
    if row >= rows || channel >= parameters.size {
        return 0.0;
    }
    let place = place_of(batch, row, rows) * parameters.size + channel;
    if operand == QUERY {
        return f32(q[place]);
    }
    if operand == KEY {
        return f32(k[place]);
    }
    return f32(v[place]);
}

fn store(output: u32, row: u32, channel: u32, value: vec4<f32>) {
    if first_query + row >= parameters.queries {
        return;
    }
    let place = place_of(batch, first_query + row, parameters.queries) * parameters.size + channel;
    for (var i = 0u; i < min(4u, parameters.size - min(channel, parameters.size)); i++) {
        var sum = value[i];
        if first_key > 0u {
            sum += before[row / 4u][row % 4u] * f32(o[place + i]);
        }
        o[place + i] = real4(after[row / 4u][row % 4u] * sum);
    }
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let number = group_number(group, groups);
    let tiles = (parameters.queries + 63u) / 64u;
    batch = number / tiles;
    if batch >= parameters.batches {
        return;
    }
    first_query = number % tiles * 64u;
    let eighth = thread / 8u;
    let rest = thread % 8u;
    // Of the queries 8 rest and following: the largest score so far, and this thread's part of the sum.
    var largest0 = vec4<f32>(LOWEST);
    var largest1 = vec4<f32>(LOWEST);
    var sum0 = vec4<f32>(0.0);
    var sum1 = vec4<f32>(0.0);
    for (first_key = 0u; first_key < parameters.tokens; first_key += 64u) {
        // Rows are keys, columns queries.
        var p = Tile();
        inner_products(&p, KEY, first_key, QUERY, first_query, thread);
        let scale = parameters.scale;
        let lowest = vec4<f32>(LOWEST);
        let key = first_key + eighth * 8u;
        let keys = parameters.tokens;
        p.c00 = select(lowest, scale * p.c00, key < keys); p.c01 = select(lowest, scale * p.c01, key < keys);
        p.c10 = select(lowest, scale * p.c10, key + 1u < keys); p.c11 = select(lowest, scale * p.c11, key + 1u < keys);
        p.c20 = select(lowest, scale * p.c20, key + 2u < keys); p.c21 = select(lowest, scale * p.c21, key + 2u < keys);
        p.c30 = select(lowest, scale * p.c30, key + 3u < keys); p.c31 = select(lowest, scale * p.c31, key + 3u < keys);
        p.c40 = select(lowest, scale * p.c40, key + 4u < keys); p.c41 = select(lowest, scale * p.c41, key + 4u < keys);
        p.c50 = select(lowest, scale * p.c50, key + 5u < keys); p.c51 = select(lowest, scale * p.c51, key + 5u < keys);
        p.c60 = select(lowest, scale * p.c60, key + 6u < keys); p.c61 = select(lowest, scale * p.c61, key + 6u < keys);
        p.c70 = select(lowest, scale * p.c70, key + 7u < keys); p.c71 = select(lowest, scale * p.c71, key + 7u < keys);

        var next0 = max(max(max(p.c00, p.c10), max(p.c20, p.c30)), max(max(p.c40, p.c50), max(p.c60, p.c70)));
        var next1 = max(max(max(p.c01, p.c11), max(p.c21, p.c31)), max(max(p.c41, p.c51), max(p.c61, p.c71)));
        workgroupBarrier();
        left[eighth * 16u + rest * 2u] = next0;
        left[eighth * 16u + rest * 2u + 1u] = next1;
        workgroupBarrier();
        next0 = largest0;
        next1 = largest1;
        for (var i = 0u; i < 8u; i++) {
            next0 = max(next0, left[i * 16u + rest * 2u]);
            next1 = max(next1, left[i * 16u + rest * 2u + 1u]);
        }
        let shrink0 = exp(largest0 - next0);
        let shrink1 = exp(largest1 - next1);
        largest0 = next0;
        largest1 = next1;

        p.c00 = exp(p.c00 - next0); p.c01 = exp(p.c01 - next1);
        p.c10 = exp(p.c10 - next0); p.c11 = exp(p.c11 - next1);
        p.c20 = exp(p.c20 - next0); p.c21 = exp(p.c21 - next1);
        p.c30 = exp(p.c30 - next0); p.c31 = exp(p.c31 - next1);
        p.c40 = exp(p.c40 - next0); p.c41 = exp(p.c41 - next1);
        p.c50 = exp(p.c50 - next0); p.c51 = exp(p.c51 - next1);
        p.c60 = exp(p.c60 - next0); p.c61 = exp(p.c61 - next1);
        p.c70 = exp(p.c70 - next0); p.c71 = exp(p.c71 - next1);
        sum0 = shrink0 * sum0 + ((p.c00 + p.c10) + (p.c20 + p.c30)) + ((p.c40 + p.c50) + (p.c60 + p.c70));
        sum1 = shrink1 * sum1 + ((p.c01 + p.c11) + (p.c21 + p.c31)) + ((p.c41 + p.c51) + (p.c61 + p.c71));

        var scale0 = vec4<f32>(1.0);
        var scale1 = vec4<f32>(1.0);
        if first_key + 64u >= parameters.tokens {
            // The last tile: the sums are complete.
            workgroupBarrier();
            left[eighth * 16u + rest * 2u] = sum0;
            left[eighth * 16u + rest * 2u + 1u] = sum1;
            workgroupBarrier();
            sum0 = vec4<f32>(0.0);
            sum1 = vec4<f32>(0.0);
            for (var i = 0u; i < 8u; i++) {
                sum0 += left[i * 16u + rest * 2u];
                sum1 += left[i * 16u + rest * 2u + 1u];
            }
            scale0 = 1.0 / sum0;
            scale1 = 1.0 / sum1;
            if eighth == 0u {
                let log0 = largest0 + log(sum0);
                let log1 = largest1 + log(sum1);
                for (var i = 0u; i < 8u; i++) {
                    let query = first_query + rest * 8u + i;
                    if query < parameters.queries {
                        log_sum[place_of(batch, query, parameters.queries)] = select(log1[i % 4u], log0[i % 4u], i < 4u);
                    }
                }
            }
        }
        // The barriers in the sums below stand between these and their readers.
        if eighth == 0u {
            before[rest * 2u] = shrink0;
            before[rest * 2u + 1u] = shrink1;
            after[rest * 2u] = scale0;
            after[rest * 2u + 1u] = scale1;
        }
        for (var channel = 0u; channel < parameters.size; channel += 64u) {
            var t = Tile(); // rows are queries, columns channels
            weighted_sums(&t, &p, VALUE, first_key, channel, thread);
            store_tile(0u, &t, channel, thread);
        }
    }
}
