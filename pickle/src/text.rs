//! The escapes of protocol 0.
//!
//! In: a line. Out: the bytes of a Python 2 string, or the UTF-8 of a text. Refuses: quotes that do not match, escapes
//! that are cut.

/// A Python 2 string in its quotes, `'a\x00b'`.
pub(super) fn unquote(line: &[u8]) -> Result<Vec<u8>, String> {
    let line = line.trim_ascii();
    let inner = match line {
        [quote @ (b'\'' | b'"'), inner @ .., end] if quote == end => inner,
        _ => return Err("a string without its quotes".to_string()),
    };
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner.iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let cut = || "a string ends inside an escape".to_string();
        match rest.next().ok_or_else(cut)? {
            b'\n' => {}
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b'r' => out.push(b'\r'),
            b'a' => out.push(7),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'v' => out.push(11),
            b'x' => {
                let high = rest.next().and_then(hex).ok_or_else(cut)?;
                let low = rest.next().and_then(hex).ok_or_else(cut)?;
                out.push((high << 4 | low) as u8);
            }
            digit @ b'0'..=b'7' => {
                let mut value = u32::from(digit - b'0');
                for _ in 0..2 {
                    let Some(next) = rest.clone().next().filter(|b| (b'0'..=b'7').contains(b)) else { break };
                    value = value << 3 | u32::from(next - b'0');
                    rest.next();
                }
                out.push(value as u8);
            }
            same @ (b'\\' | b'\'' | b'"') => out.push(same),
            other => out.extend([b'\\', other]),
        }
    }
    Ok(out)
}

/// `raw-unicode-escape`: Latin-1 with `\uXXXX` and `\UXXXXXXXX`. Lone surrogates become the replacement character.
pub(super) fn raw_unicode(line: &[u8]) -> Result<String, String> {
    let mut out = String::with_capacity(line.len());
    let mut at = 0;
    while let Some(&byte) = line.get(at) {
        at += 1;
        let digits = match (byte, line.get(at)) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => {
                out.push(char::from(byte));
                continue;
            }
        };
        let text = line.get(at + 1..at + 1 + digits).ok_or("a text ends inside an escape")?;
        let mut code = 0;
        for &digit in text {
            code = code << 4 | hex(digit).ok_or("a text with a broken escape")?;
        }
        out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        at += 1 + digits;
    }
    Ok(out)
}

fn hex(digit: u8) -> Option<u32> {
    char::from(digit).to_digit(16)
}
