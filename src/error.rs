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

/// Bytes of a message, about.
const LONGEST_MESSAGE: usize = 1500;

impl Error {
    /// An [`Error::Input`] from anything that prints. Messages repeat what files hold, which may be long and on several
    /// lines: what would break the line is escaped, and what is too long to read is cut off.
    pub fn input(message: impl Into<String>) -> Self {
        let mut message: String = message.into();
        if message.len() > LONGEST_MESSAGE || message.contains(char::is_control) {
            let mut escaped = String::new();
            let mut characters = message.chars();
            while escaped.len() < LONGEST_MESSAGE
                && let Some(character) = characters.next()
            {
                match character.is_control() {
                    true => escaped.extend(character.escape_default()),
                    false => escaped.push(character),
                }
            }
            if characters.next().is_some() {
                escaped.push_str("...");
            }
            message = escaped;
        }
        Self::Input(message)
    }

    /// For `map_err` on file operations: attaches the path.
    pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_path_buf(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(Error::input("a\nb\x7f\u{e9}").to_string(), "a\\nb\\u{7f}\u{e9}");
        assert_eq!(Error::input("\u{e9}".repeat(1 << 20)).to_string(), "\u{e9}".repeat(750) + "...");
        assert_eq!(Error::input("x".repeat(1500)).to_string(), "x".repeat(1500));
    }
}
