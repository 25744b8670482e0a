//! How good generated pictures are, from nothing but the pictures: improved precision and recall, the distance to the
//! nearest training picture, the Frechet distance. Samples are rows of `dim` numbers; any features do, plain pixels for small pictures.

mod distance;
mod frechet;
mod judge;
mod nearest;
mod precision_recall;

pub use frechet::{Gaussian, frechet_distance};
pub use judge::{Judge, Judged, PARTS};
pub use nearest::{median, nearest_distances};
pub use precision_recall::{PrecisionRecall, precision_recall};
