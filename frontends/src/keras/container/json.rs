//! JSON as Python writes it.
//!
//! In: bytes. Out: the value they stand for. Python's writer has three words that are not JSON, `NaN`, `Infinity` and
//! `-Infinity`; they become texts, so that a key that is read as a number refuses them, and one that is not stays as it
//! is.

use serde_json::Value;

/// Words of Python's writer, the longest first.
const WORDS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];

/// Parses JSON, and what Python takes for JSON.
///
/// # Errors
/// Those of the JSON reader, for the text as it stands.
pub(crate) fn parse(text: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(text).or_else(|problem| match quoted(text) {
        Some(text) => serde_json::from_slice(&text).map_err(|_| problem),
        None => Err(problem),
    })
}

/// The text with Python's words in quotes; `None` when there are none.
fn quoted(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let (mut rest, mut inside, mut found) = (text, false, false);
    while let Some((&byte, tail)) = rest.split_first() {
        let word = WORDS.iter().find(|word| !inside && rest.starts_with(word));
        if let Some(word) = word {
            out.push(b'"');
            out.extend_from_slice(word);
            out.push(b'"');
            rest = rest.get(word.len()..).unwrap_or_default();
            found = true;
            continue;
        }
        out.push(byte);
        rest = tail;
        match byte {
            b'"' => inside = !inside,
            b'\\' if inside => {
                if let Some((&escaped, tail)) = rest.split_first() {
                    out.push(escaped);
                    rest = tail;
                }
            }
            _ => {}
        }
    }
    found.then_some(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_of_python_become_texts() {
        let text = br#"{"a": Infinity, "b": [-Infinity, NaN, 1], "c": "NaN \" Infinity", "d": null}"#;
        let wanted =
            json!({"a": "Infinity", "b": ["-Infinity", "NaN", 1], "c": "NaN \" Infinity", "d": null});
        assert_eq!(parse(text).unwrap(), wanted);
        for bad in [&b"{"[..], b"Infinit", b"{\"a\": NaN", b"\"\\", b"[Infinity Infinity]"] {
            assert!(parse(bad).is_err());
        }
    }
}
