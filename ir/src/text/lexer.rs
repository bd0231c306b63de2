//! One line of text to tokens.

use super::print::is_bare_char;

/// A token. Numbers stay text, since what they are depends on where they stand.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Token {
    /// A run of letters, digits, `_`, `.`, `/`, `-`, `+`.
    Word(String),
    /// `%name` or `%"name"`.
    Name(String),
    /// `"…"`.
    Text(String),
    /// Any other character.
    Mark(char),
}

impl Token {
    pub(super) fn describe(&self) -> String {
        match self {
            Token::Word(w) => format!("`{w}`"),
            Token::Name(n) => format!("`%{n}`"),
            Token::Text(t) => format!("\"{t}\""),
            Token::Mark(c) => format!("`{c}`"),
        }
    }
}

/// Splits a line; a comment ends it. Each token has the column, from 1, at which it begins.
pub(super) fn tokens(line: &str) -> Result<Vec<(usize, Token)>, (usize, String)> {
    let chars: Vec<char> = line.chars().collect();
    let mut out = Vec::new();
    let mut i = 0;
    while i < chars.len() {
        let column = i + 1;
        match chars[i] {
            c if c.is_whitespace() => i += 1,
            '/' if chars.get(i + 1) == Some(&'/') => break,
            '"' => {
                let (text, end) = string(&chars, i).map_err(|e| (column, e))?;
                out.push((column, Token::Text(text)));
                i = end;
            }
            '%' if chars.get(i + 1) == Some(&'"') => {
                let (text, end) = string(&chars, i + 1).map_err(|e| (column, e))?;
                if text.is_empty() {
                    return Err((column, "expected a name after `%`".to_string()));
                }
                out.push((column, Token::Name(text)));
                i = end;
            }
            '%' => {
                let (word, end) = run(&chars, i + 1);
                if word.is_empty() {
                    return Err((column, "expected a name after `%`".to_string()));
                }
                out.push((column, Token::Name(word)));
                i = end;
            }
            c if is_bare_char(c) || c == '+' => {
                let (word, end) = run(&chars, i);
                out.push((column, Token::Word(word)));
                i = end;
            }
            c => {
                out.push((column, Token::Mark(c)));
                i += 1;
            }
        }
    }
    Ok(out)
}

/// The run of bare characters from `start`. A comment begins at `//` inside it too.
fn run(chars: &[char], start: usize) -> (String, usize) {
    let mut end = start;
    while end < chars.len() && (is_bare_char(chars[end]) || chars[end] == '+') {
        if chars[end] == '/' && chars.get(end + 1) == Some(&'/') {
            break;
        }
        end += 1;
    }
    (chars[start..end].iter().collect(), end)
}

/// The string that begins with the quote at `start`, and where it ends.
fn string(chars: &[char], start: usize) -> Result<(String, usize), String> {
    let mut text = String::new();
    let mut i = start + 1;
    loop {
        match chars.get(i) {
            None => return Err("this string has no closing quote".to_string()),
            Some('"') => return Ok((text, i + 1)),
            Some('\\') => {
                let (c, end) = escape(chars, i)?;
                text.push(c);
                i = end;
            }
            Some(&c) => {
                text.push(c);
                i += 1;
            }
        }
    }
}

fn escape(chars: &[char], start: usize) -> Result<(char, usize), String> {
    let bad = || "expected \\\", \\\\ or \\u{hex}".to_string();
    match chars.get(start + 1) {
        Some(&c @ ('"' | '\\')) => Ok((c, start + 2)),
        Some('u') if chars.get(start + 2) == Some(&'{') => {
            let close =
                (start + 3..chars.len().min(start + 11)).find(|&i| chars[i] == '}').ok_or_else(bad)?;
            let digits: String = chars[start + 3..close].iter().collect();
            let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32).ok_or_else(bad)?;
            Ok((code, close + 1))
        }
        _ => Err(bad()),
    }
}
