//! JSON as Python's `json` writes it, with numbers that JSON does not have.

use serde_json::Value;

/// Parses JSON as Python writes it: the numbers that JSON lacks become strings.
pub(super) fn parse_python_json(text: &str) -> serde_json::Result<Value> {
    if !["Infinity", "NaN"].iter().any(|name| text.contains(name)) {
        return serde_json::from_str(text);
    }
    let mut quoted = String::with_capacity(text.len() + 16);
    let (mut in_string, mut escaped) = (false, false);
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let name = ["-Infinity", "Infinity", "NaN"].into_iter().find(|name| !in_string && rest.starts_with(name));
        if let Some(name) = name {
            quoted.extend(["\"", name, "\""]);
            rest = &rest[name.len()..];
            continue;
        }
        in_string ^= next == '"' && !escaped;
        escaped = next == '\\' && !escaped;
        quoted.push(next);
        rest = &rest[next.len_utf8()..];
    }
    serde_json::from_str(&quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pythons_infinities_are_read_and_strings_left_alone() {
        let text = r#"{"_note": "NaN \" Infinity", "low": -Infinity, "high": Infinity, "none": [NaN, 1]}"#;
        let json = parse_python_json(text).unwrap();
        assert_eq!(json["_note"], "NaN \" Infinity");
        assert_eq!((&json["low"], &json["high"]), (&"-Infinity".into(), &"Infinity".into()));
        assert_eq!(json["none"], serde_json::json!(["NaN", 1]));
        assert_eq!(parse_python_json("[1.5]").unwrap(), serde_json::json!([1.5]));
        assert!(parse_python_json("[Infinity").is_err());
    }
}
