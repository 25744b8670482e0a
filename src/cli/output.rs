//! Lines for people. Unlike the standard library's macros these do not panic when nobody reads any more (`| head`).

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
