//! How good generated pictures are, from nothing but the pictures: improved precision and recall, and the distance to
//! the nearest training picture. Samples are rows of `dim` numbers; any features do, plain pixels for small pictures.

mod distance;
mod nearest;
mod precision_recall;

pub use nearest::{median, nearest_distances};
pub use precision_recall::{PrecisionRecall, precision_recall};
