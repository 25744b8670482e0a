//! The one error type. Every message is a single line that names the thing, what was found and what was expected.

use std::path::{Path, PathBuf};

/// What went wrong, in words that a user can act on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user's data, flags or configuration: the message says what was found and what was expected.
    #[error("{0}")]
    Input(String),
    /// A file or folder that could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// An operation was recorded on values whose shapes do not fit it.
    #[error("{op}: {message}")]
    Shape {
        /// The operation's name.
        op: &'static str,
        /// The shapes found and what was expected.
        message: String,
    },
    /// What was asked for does not fit the device's memory or limits.
    #[error("out of memory: {0}")]
    OutOfMemory(String),
    /// No device answers to the name that was given.
    #[error("{0}")]
    NoDevice(String),
    /// The GPU went away (reset by a watchdog, unplugged, driver crash).
    #[error("device lost: {0}")]
    DeviceLost(String),
    /// The driver or wgpu refused something that should have worked.
    #[error("device error: {0}")]
    Device(String),
}

/// A result with aquatint's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An [`Error::Input`] from anything that prints.
    pub fn input(message: impl Into<String>) -> Self {
        Self::Input(message.into())
    }

    /// For `map_err` on file operations: attaches the path.
    pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_path_buf(), source }
    }
}
