// dq = scale ds k with ds = p (do v^T - delta) and p = e^(scale q k^T - log_sum), made again from q and k (Dao 2023, arXiv
// 2307.08691, algorithm 2). A workgroup has 64 queries of a head and walks over the keys, 64 at a time.
@group(0) @binding(7) var<storage, read_write> grad_q: array<real7>; // as q

fn store(output: u32, row: u32, channel: u32, value: vec4<f32>) {
    if first_query + row >= parameters.queries {
        return;
    }
    let place = place_of(batch, first_query + row, parameters.queries) * parameters.size + channel;
    for (var i = 0u; i < min(4u, parameters.size - min(channel, parameters.size)); i++) {
        var sum = value[i];
        if first_key > 0u {
            sum += f32(grad_q[place + i]);
        }
        grad_q[place + i] = real7(sum);
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
    let query = first_query + thread % 8u * 8u;
    let s0 = statistics(query);
    let s1 = statistics(query + 1u);
    let s2 = statistics(query + 2u);
    let s3 = statistics(query + 3u);
    let s4 = statistics(query + 4u);
    let s5 = statistics(query + 5u);
    let s6 = statistics(query + 6u);
    let s7 = statistics(query + 7u);
    let log0 = vec4<f32>(s0.x, s1.x, s2.x, s3.x);
    let log1 = vec4<f32>(s4.x, s5.x, s6.x, s7.x);
    let delta0 = vec4<f32>(s0.y, s1.y, s2.y, s3.y);
    let delta1 = vec4<f32>(s4.y, s5.y, s6.y, s7.y);
    let scale = parameters.scale;
    for (first_key = 0u; first_key < parameters.tokens; first_key += 64u) {
        // Rows are keys, columns queries.
        var p = Tile();
        inner_products(&p, KEY, first_key, QUERY, first_query, thread);
        p.c00 = exp(scale * p.c00 - log0); p.c01 = exp(scale * p.c01 - log1);
        p.c10 = exp(scale * p.c10 - log0); p.c11 = exp(scale * p.c11 - log1);
        p.c20 = exp(scale * p.c20 - log0); p.c21 = exp(scale * p.c21 - log1);
        p.c30 = exp(scale * p.c30 - log0); p.c31 = exp(scale * p.c31 - log1);
        p.c40 = exp(scale * p.c40 - log0); p.c41 = exp(scale * p.c41 - log1);
        p.c50 = exp(scale * p.c50 - log0); p.c51 = exp(scale * p.c51 - log1);
        p.c60 = exp(scale * p.c60 - log0); p.c61 = exp(scale * p.c61 - log1);
        p.c70 = exp(scale * p.c70 - log0); p.c71 = exp(scale * p.c71 - log1);

        var d = Tile();
        inner_products(&d, VALUE, first_key, GRAD_O, first_query, thread);
        // Past the last key p may be infinite: the score of a row of zeros is 0 whatever the sum is.
        let zero = vec4<f32>(0.0);
        let key = first_key + thread / 8u * 8u;
        let keys = parameters.tokens;
        d.c00 = select(zero, scale * p.c00 * (d.c00 - delta0), key < keys);
        d.c01 = select(zero, scale * p.c01 * (d.c01 - delta1), key < keys);
        d.c10 = select(zero, scale * p.c10 * (d.c10 - delta0), key + 1u < keys);
        d.c11 = select(zero, scale * p.c11 * (d.c11 - delta1), key + 1u < keys);
        d.c20 = select(zero, scale * p.c20 * (d.c20 - delta0), key + 2u < keys);
        d.c21 = select(zero, scale * p.c21 * (d.c21 - delta1), key + 2u < keys);
        d.c30 = select(zero, scale * p.c30 * (d.c30 - delta0), key + 3u < keys);
        d.c31 = select(zero, scale * p.c31 * (d.c31 - delta1), key + 3u < keys);
        d.c40 = select(zero, scale * p.c40 * (d.c40 - delta0), key + 4u < keys);
        d.c41 = select(zero, scale * p.c41 * (d.c41 - delta1), key + 4u < keys);
        d.c50 = select(zero, scale * p.c50 * (d.c50 - delta0), key + 5u < keys);
        d.c51 = select(zero, scale * p.c51 * (d.c51 - delta1), key + 5u < keys);
        d.c60 = select(zero, scale * p.c60 * (d.c60 - delta0), key + 6u < keys);
        d.c61 = select(zero, scale * p.c61 * (d.c61 - delta1), key + 6u < keys);
        d.c70 = select(zero, scale * p.c70 * (d.c70 - delta0), key + 7u < keys);
        d.c71 = select(zero, scale * p.c71 * (d.c71 - delta1), key + 7u < keys);

        for (var channel = 0u; channel < parameters.size; channel += 64u) {
            var t = Tile(); // rows are queries, columns channels
            weighted_sums(&t, &d, KEY, first_key, channel, thread);
            store_tile(0u, &t, channel, thread);
        }
    }
}
