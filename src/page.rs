//! The page of `eval --html`: one file without scripts, fonts or links, the same bytes for the same results.
//!
//! In: what was counted. Out: HTML with accuracy, the confusion matrix and the worst mistakes with their images inside.

use crate::evaluation::Tally;
use std::fmt::Write;
use unfloat_data::picture::{Kind, encode};

/// Classes that a matrix is drawn for; a larger one would not be read.
const MOST: usize = 128;

const STYLE: &str = "body{font:14px sans-serif;margin:2em;max-width:80em}table{border-collapse:collapse;margin:1em 0}\
                     td,th{border:1px solid #ccc;padding:2px 6px;text-align:right}th{background:#f4f4f4}\
                     figure{display:inline-block;margin:4px;text-align:center;font-size:12px;vertical-align:top}\
                     img{width:96px;image-rendering:pixelated;border:1px solid #ccc}";

/// Text for HTML.
fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// Bytes in base 64 (RFC 4648).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = (0..3).fold(0u32, |w, i| w << 8 | u32::from(chunk.get(i).copied().unwrap_or(0)));
        for i in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

fn percent(part: u64, all: u64) -> String {
    if all == 0 { "–".to_string() } else { format!("{:.2} %", 100.0 * part as f64 / all as f64) }
}

/// The page.
pub fn page(title: &str, tally: &Tally) -> String {
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}</title><style>{STYLE}</style></head>\n\
         <body><h1>{0}</h1>\n",
        html(title)
    );
    let (samples, correct) = (tally.samples, tally.correct());
    let _ = writeln!(out, "<p>{samples} samples. Top-1: {} ({correct}).", percent(correct, samples));
    if tally.top > 1 {
        let _ = writeln!(out, "Top-{}: {} ({}).", tally.top, percent(tally.among, samples), tally.among);
    }
    out += "</p>\n<h2>Classes</h2>\n<table><tr><th>class</th><th>samples</th><th>correct</th><th>accuracy</th></tr>\n";
    for (c, name) in tally.classes.iter().enumerate() {
        let (of, right) = tally.of_class(c);
        let _ = writeln!(
            out,
            "<tr><th>{}</th><td>{of}</td><td>{right}</td><td>{}</td></tr>",
            html(name),
            percent(right, of)
        );
    }
    out += "</table>\n";
    if tally.classes.len() <= MOST {
        matrix(tally, &mut out);
    }
    worst(tally, &mut out);
    out + "</body></html>\n"
}

fn matrix(tally: &Tally, out: &mut String) {
    out.push_str(
        "<h2>Confusion</h2>\n<p>Rows: the class. Columns: what the model gives.</p>\n<table><tr><th></th>",
    );
    for name in &tally.classes {
        let _ = write!(out, "<th>{}</th>", html(name));
    }
    out.push_str("</tr>\n");
    for (c, row) in tally.confusion.iter().enumerate() {
        let all: u64 = row.iter().sum();
        let _ = write!(out, "<tr><th>{}</th>", html(&tally.classes[c]));
        for (p, &n) in row.iter().enumerate() {
            // Whole per cent, so that the text does not depend on how floats are printed.
            let shade = (n * 100).checked_div(all).unwrap_or(0);
            let (hue, light) = (if p == c { 130 } else { 10 }, 100 - shade / 2);
            let _ = match n {
                0 => write!(out, "<td></td>"),
                n => write!(out, "<td style=\"background:hsl({hue},70%,{light}%)\">{n}</td>"),
            };
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table>\n");
}

fn worst(tally: &Tally, out: &mut String) {
    if tally.worst.is_empty() {
        return;
    }
    out.push_str("<h2>The worst mistakes</h2>\n<p>Those whose own class is furthest below the one that the model gives.</p>\n");
    for (place, picture) in &tally.worst {
        let mistake = &tally.mistakes[*place];
        let (name, own, given) = (
            html(&mistake.name),
            html(&tally.classes[mistake.label]),
            html(&tally.classes[mistake.predicted]),
        );
        let Ok(png) = encode(picture, Kind::Png) else { continue };
        let _ = writeln!(
            out,
            "<figure><img alt=\"{name}\" src=\"data:image/png;base64,{}\"><figcaption>{name}<br>{own} → {given}\
             </figcaption></figure>",
            base64(&png)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        for (text, want) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(text.as_bytes()), want);
        }
    }

    #[test]
    fn names_cannot_add_markup() {
        let tally = Tally::new(vec!["<b>".to_string(), "a&\"\n".to_string()], 1);
        let page = page("<script>", &tally);
        assert!(page.contains("&lt;b&gt;") && page.contains("a&amp;&quot;\\n"), "{page}");
        assert!(!page.contains("<script>") && !page.contains("<b>"));
    }
}
