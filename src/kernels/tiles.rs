//! What the variants of a matrix product have in common.

use crate::plan::{Shader, Variant};

/// Tiles of `tile` that cover a matrix of `rows` x `columns`.
pub(super) fn tiles(rows: usize, columns: usize, tile: [usize; 2]) -> usize {
    rows.div_ceil(tile[0]) * columns.div_ceil(tile[1])
}

/// One shader after `tile_vec4.wgsl` and after `tile_vec4_small.wgsl`, in the sizes of tiles that those have: `groups`
/// tells how many workgroups there are for one.
pub(super) fn vector_tiles(
    [shader, small]: [Shader; 2],
    constants: Vec<(&'static str, f64)>,
    groups: impl Fn([usize; 2]) -> usize,
) -> impl Iterator<Item = Variant> {
    [("vec4", shader, 64), ("vec4 large", shader, 128), ("vec4 small", small, 32)].into_iter().map(
        move |(name, shader, tile)| {
            let constants = constants.iter().copied().chain([("tile", tile as f64)]).collect();
            Variant { constants, ..Variant::new(name, shader, groups([tile, tile])) }
        },
    )
}
