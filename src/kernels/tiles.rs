//! What the variants of a matrix product have in common.

use crate::plan::{Needs, Shader, Variant};

/// Tiles of `tile` that cover a matrix of `rows` x `columns`.
pub(super) fn tiles(rows: usize, columns: usize, tile: [usize; 2]) -> usize {
    rows.div_ceil(tile[0]) * columns.div_ceil(tile[1])
}

/// `after_tiles!("name", "shared one", ...)`: one shader after each of the files that multiply operands in fours.
macro_rules! after_tiles {
    ($name:literal $(, $shared:literal)*) => {
        [
            shader!($name, "tile_vec4" $(, $shared)*),
            shader!($name, "tile_vec4_small" $(, $shared)*),
            shader!($name, "cooperative_16", "subgroups", "tile_cooperative" $(, $shared)*),
            shader!($name, "cooperative_8", "subgroups", "tile_cooperative" $(, $shared)*),
        ]
    };
}
pub(super) use after_tiles;

/// The shaders of [`after_tiles`] in the sizes of tiles that those files have: `groups` tells how many workgroups there
/// are for one.
pub(super) fn vector_tiles(
    [shader, small, by_16, by_8]: [Shader; 4],
    constants: Vec<(&'static str, f64)>,
    groups: impl Fn([usize; 2]) -> usize,
) -> impl Iterator<Item = Variant> {
    let with = |name, shader, tile: usize, more: Option<(&'static str, f64)>| {
        let constants = constants.iter().copied().chain(more).collect();
        Variant { constants, ..Variant::new(name, shader, groups([tile, tile])) }
    };
    let vectors = [("vec4", shader, 64), ("vec4 large", shader, 128), ("vec4 small", small, 32)]
        .map(|(name, shader, tile)| with(name, shader, tile, Some(("tile", tile as f64))));
    // A tile is four matrices high and wide.
    let cooperative = [("cooperative 16", by_16, 16), ("cooperative 8", by_8, 8)].map(|(name, shader, side)| {
        with(name, shader, 4 * side, None).needing(Needs::CooperativeMatrices(side as u32))
    });
    vectors.into_iter().chain(cooperative)
}
