//! Lines for people. Unlike the standard library's macros these do not panic when nobody reads any more (`| head`).

use crate::atomic_file;
use crate::error::{Error, Result};
use std::path::Path;

/// A line of results, on standard output.
macro_rules! say {
    ($($argument:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stdout(), $($argument)*);
    }};
}

/// A line about the work, on standard error.
macro_rules! note {
    ($($argument:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), $($argument)*);
    }};
}

pub(super) use {note, say};

/// Whether a PNG of this name could be written: checked before the work that it shows.
pub(super) fn check_png(path: &Path) -> Result<()> {
    if path.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("png")) {
        return Err(Error::input(format!("{}: is to be a PNG, expected a name that ends with .png", path.display())));
    }
    atomic_file::check(path)
}
