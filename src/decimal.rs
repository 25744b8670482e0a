//! Singles in files for people: 1e-5 and not 0.000009999999747378752.

use serde::Serializer;

/// For `serialize_with`: the shortest decimal that reads back as the same single.
pub(crate) fn shortest<S: Serializer>(value: &f32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(value.to_string().parse().unwrap_or(f64::from(*value)))
}
