// Operands of any strides.
@group(0) @binding(1) var<storage, read> a: array<real1>;
@group(0) @binding(2) var<storage, read> b: array<real2>;
@group(0) @binding(3) var<storage, read> bias: array<real3>;
@group(0) @binding(4) var<storage, read_write> c: array<real4>;

fn store(row: u32, column: u32, value: vec4<f32>) {
    if row >= parameters.rows {
        return;
    }
    for (var i = 0u; i < min(4u, parameters.columns - min(column, parameters.columns)); i++) {
        let place = c_first + row * parameters.c.row + (column + i) * parameters.c.column;
        var sum = parameters.scale * value[i];
        if parameters.has_bias != 0u {
            sum += f32(bias[column + i]);
        }
        if parameters.accumulate != 0u {
            sum += f32(c[place]);
        }
        c[place] = real4(sum);
    }
}
