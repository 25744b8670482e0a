// What the backward passes of attention read.
@group(0) @binding(1) var<storage, read> q: array<real1>; // [picture][query][head][channel]
@group(0) @binding(2) var<storage, read> k: array<real2>; // [picture][token][head][channel]
@group(0) @binding(3) var<storage, read> v: array<real3>;
@group(0) @binding(4) var<storage, read> log_sum: array<f32>; // [picture][query][head]
@group(0) @binding(5) var<storage, read> grad_o: array<real5>; // as q
@group(0) @binding(6) var<storage, read> delta: array<f32>; // as log_sum

const QUERY: u32 = 0u;
const KEY: u32 = 1u;
const VALUE: u32 = 2u;
const GRAD_O: u32 = 3u;

fn element(operand: u32, row: u32, channel: u32) -> f32 {
    let rows = select(parameters.tokens, parameters.queries, operand == QUERY || operand == GRAD_O);
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
    if operand == VALUE {
        return f32(v[place]);
    }
    return f32(grad_o[place]);
}

// [log_sum, delta] of a query. Those past the last have none; their rows of q and do are 0 and add nothing.
fn statistics(query: u32) -> vec2<f32> {
    if query >= parameters.queries {
        return vec2<f32>(0.0);
    }
    let place = place_of(batch, query, parameters.queries);
    return vec2<f32>(log_sum[place], delta[place]);
}
