//! Betas from a file.

use crate::error::{Error, Result};
use std::io::Read;
use std::path::Path;

/// Bytes of a file at the most: a million numbers written out in full.
const LONGEST: u64 = 1 << 25;

/// Reads the betas of a noise schedule, the first timestep's first: a list in JSON, or text with a number on each line,
/// where what follows a `#` is left out. Whether they make a schedule is for
/// [`SchedulerConfig::with_betas`](super::SchedulerConfig::with_betas) to say.
///
/// # Errors
/// [`Io`](Error::Io), or [`Input`](Error::Input) naming the file and the line.
pub fn read_betas(path: &Path) -> Result<Vec<f64>> {
    let source = path.display();
    let wrong = |message: String| Error::input(format!("{source}: {message}"));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(Error::io(path))?;
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(Error::io(path))?;
    if bytes.len() as u64 > LONGEST {
        return Err(wrong(format!("longer than {LONGEST} bytes, expected betas")));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| wrong("not text, expected betas, a number on each line or a list in JSON".into()))?;
    let betas: Vec<f64> = if text.trim_start().starts_with('[') {
        serde_json::from_str(&text).map_err(|error| wrong(format!("not a list of numbers in JSON: {error}")))?
    } else {
        let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.split('#').next().unwrap_or("")));
        let number = |(number, line): (usize, &str)| {
            let line = line.trim();
            line.parse().map_err(|_| wrong(format!("line {number} is {line:?}, expected a beta")))
        };
        lines.filter(|(_, line)| !line.trim().is_empty()).map(number).collect::<Result<_>>()?
    };
    match betas.is_empty() {
        true => Err(wrong("holds no betas".into())),
        false => Ok(betas),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn betas_are_read_from_text_and_json() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("betas");
        let read = |text: &[u8]| {
            std::fs::write(&path, text).unwrap();
            read_betas(&path)
        };
        for text in ["# two\n0.1\n\n 2e-1 # the last", "0.1\r\n0.2\r\n", "[0.1, 0.2]\n", "\n[0.1,\n0.2]"] {
            assert_eq!(read(text.as_bytes()).unwrap(), [0.1, 0.2], "{text}");
        }
        for (text, expected) in [
            (&b"0.1\n0.2, 0.3"[..], "line 2 is \"0.2, 0.3\""),
            (b"[0.1, \"a\"]", "JSON"),
            (b" \n# none\n", "no betas"),
            (b"[]", "no betas"),
            (b"\x93NUMPY\x01", "not text"),
        ] {
            let message = read(text).unwrap_err().to_string();
            assert!(message.contains(expected) && message.starts_with(&path.display().to_string()), "{message}");
            assert!(!message.contains('\n'));
        }
        assert!(matches!(read_betas(&folder.path().join("none")), Err(Error::Io { .. })));
    }
}
