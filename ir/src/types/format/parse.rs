//! Reads number formats. In comes any text; out goes a [`Format`], or every problem with its column.

use super::{FIXED_MODES, Format, FormatError, INT_MODES};
use crate::types::{IntType, Log2, Midpoint, Overflow, Q, Rounding};
use std::str::FromStr;

const FORMS: &str = "fixed<W,I>, ufixed<W,I>, ap_fixed<…>, ac_fixed<W,I,S>, Qm.n, UQm.n, int8, uint8, ternary, log2<B>, \
                     bipolar or float";
const ROUNDINGS: &str = "RND, RND_ZERO, RND_MIN_INF, RND_INF, RND_CONV, TRN, TRN_ZERO, or QONNX's ROUND, HALF_UP, \
                         HALF_DOWN, UP, DOWN, CEIL, FLOOR";
const OVERFLOWS: &str = "WRAP, SAT, SAT_ZERO or SAT_SYM";

/// A part of the text, and where it begins, in bytes.
#[derive(Clone, Copy)]
struct Part<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Part<'t> {
    /// The part without the blanks around it.
    fn trimmed(self) -> Self {
        let text = self.text.trim_start();
        Part { text: text.trim_end(), at: self.at + self.text.len() - text.len() }
    }
    /// The part from a byte on.
    fn from(self, byte: usize) -> Self {
        Part { text: self.text.get(byte..).unwrap_or_default(), at: self.at + byte }
    }
    fn end(self) -> Part<'t> {
        self.from(self.text.len())
    }
}

/// The text as it is read: what stands between the angles, and the problems found so far.
struct Reader<'t> {
    text: &'t str,
    name: Part<'t>,
    args: Vec<Part<'t>>,
    problems: Vec<(usize, String)>,
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let mut reader = Reader::new(text);
        let format = reader.format();
        let mut problems = reader.problems;
        match format {
            Some(format) if problems.is_empty() => Ok(format),
            _ => {
                problems.sort_by_key(|p| p.0);
                Err(FormatError { text: text.to_string(), problems })
            }
        }
    }
}

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Self {
        let whole = Part { text, at: 0 }.trimmed();
        let mut reader = Reader { text, name: whole, args: Vec::new(), problems: Vec::new() };
        let Some(open) = whole.text.find('<') else { return reader };
        reader.name = Part { text: &whole.text[..open], at: whole.at }.trimmed();
        let inside = whole.from(open + 1);
        let Some(close) = inside.text.find('>') else {
            reader.problem(inside.end(), "expected `>` at the end");
            return reader;
        };
        let after = inside.from(close + 1).trimmed();
        if !after.text.is_empty() {
            reader.problem(after, format!("expected nothing behind `>`, found `{}`", after.text));
        }
        let mut at = inside.at;
        for arg in inside.text[..close].split(',') {
            reader.args.push(Part { text: arg, at }.trimmed());
            at += arg.len() + 1;
        }
        reader
    }

    fn problem(&mut self, at: Part, problem: impl Into<String>) {
        let column = self.text.get(..at.at).map_or(0, |before| before.chars().count()) + 1;
        self.problems.push((column, problem.into()));
    }

    fn format(&mut self) -> Option<Format> {
        let name = self.name.text.to_ascii_lowercase();
        match name.as_str() {
            "float" | "float32" | "f32" => self.no_args().map(|()| Format::Float),
            "ternary" => self.no_args().map(|()| Format::Ternary),
            "bipolar" => self.no_args().map(|()| Format::Bipolar),
            "log2" => self.log2(),
            "fixed" | "ap_fixed" => self.fixed(Some(true)),
            "ufixed" | "ap_ufixed" => self.fixed(Some(false)),
            "ac_fixed" => self.fixed(None),
            other => {
                if let Some(digits) = other.strip_prefix("uq").or(other.strip_prefix('q')) {
                    return self.q(!other.starts_with('u'), digits);
                }
                match other.strip_prefix("uint").or(other.strip_prefix("int")) {
                    Some(digits) => self.int(!other.starts_with('u'), digits),
                    None => self.unknown(),
                }
            }
        }
    }

    fn unknown(&mut self) -> Option<Format> {
        let found =
            if self.name.text.is_empty() { "nothing".to_string() } else { format!("`{}`", self.name.text) };
        self.problem(self.name, format!("expected {FORMS}, found {found}"));
        None
    }

    /// Checks how many arguments there are; `what` says which.
    fn count(&mut self, least: usize, most: usize, what: &str) -> Option<()> {
        let n = self.args.len();
        if (least..=most).contains(&n) {
            return Some(());
        }
        let at = self
            .args
            .get(most)
            .copied()
            .unwrap_or_else(|| self.args.last().copied().unwrap_or(self.name).end());
        self.problem(at, format!("expected {what}, found {n} argument{}", if n == 1 { "" } else { "s" }));
        None
    }

    fn no_args(&mut self) -> Option<()> {
        let name = self.name.text;
        self.count(0, 0, &format!("`{name}` alone"))
    }

    /// A whole number in a range.
    fn number(&mut self, at: Part, what: &str, range: std::ops::RangeInclusive<i32>) -> Option<i32> {
        match at.text.parse::<i32>() {
            Ok(n) if range.contains(&n) => Some(n),
            _ => {
                let (lo, hi) = (range.start(), range.end());
                self.problem(at, format!("expected {what}, {lo} to {hi}, found `{}`", at.text));
                None
            }
        }
    }

    fn log2(&mut self) -> Option<Format> {
        self.count(1, 2, "log2<B> or log2<B,midpoint>")?;
        let widths = i32::from(*Log2::WIDTHS.start())..=i32::from(*Log2::WIDTHS.end());
        let width = self.number(self.args[0], "the width in bits, sign included", widths);
        let midpoint = match self.args.get(1) {
            None => Some(Midpoint::Linear),
            Some(m) if m.text.eq_ignore_ascii_case(Midpoint::Linear.name()) => Some(Midpoint::Linear),
            Some(m) if m.text.eq_ignore_ascii_case(Midpoint::Log.name()) => Some(Midpoint::Log),
            Some(&m) => {
                self.problem(m, format!("expected the midpoint, `linear` or `log`, found `{}`", m.text));
                None
            }
        };
        Some(Format::Log2(Log2 { width: u8::try_from(width?).ok()?, midpoint: midpoint? }))
    }

    /// `signed` is what the name says; `ac_fixed` says it in its third argument.
    fn fixed(&mut self, signed: Option<bool>) -> Option<Format> {
        let first_mode = if signed.is_some() { 2 } else { 3 };
        match signed {
            Some(_) => self.count(
                2,
                5,
                "<width, integer bits, rounding, overflow, 0>, of which the last three may miss",
            ),
            None => self.count(
                3,
                5,
                "<width, integer bits, signed, rounding, overflow>, of which the last two may miss",
            ),
        }?;
        let width = self.number(self.args[0], "the width in bits, sign included", 1..=32);
        let integer = self.integer_bits(self.args[1], width);
        let signed = signed.or_else(|| self.signed(self.args[2]));
        let modes = self.modes(first_mode, FIXED_MODES);
        if let (2, Some(&n)) = (first_mode, self.args.get(4))
            && n.text != "0"
        {
            let found = n.text;
            self.problem(n, format!("expected 0 saturation bits, found `{found}`; wrapping keeps none"));
        }
        let (rounding, overflow) = modes?;
        let (width, frac) = (width?, width? - integer?);
        let q = Q { signed: signed?, width: u8::try_from(width).ok()?, frac: i16::try_from(frac).ok()? };
        Some(Format::Fixed { q, rounding, overflow })
    }

    fn integer_bits(&mut self, at: Part, width: Option<i32>) -> Option<i32> {
        let width = width.unwrap_or(0);
        let range = width - Format::FRACTION.end()..=width - Format::FRACTION.start();
        self.number(at, "the integer bits, sign included", range)
    }

    fn signed(&mut self, at: Part) -> Option<bool> {
        match at.text.to_ascii_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            other => {
                self.problem(at, format!("expected whether it is signed, true or false, found `{other}`"));
                None
            }
        }
    }

    fn q(&mut self, signed: bool, digits: &str) -> Option<Format> {
        let Some((m, n)) = digits.split_once('.') else { return self.unknown() };
        let (Ok(m), Ok(n)) = (m.parse::<i16>(), n.parse::<u16>()) else {
            self.problem(self.name, "expected Qm.n: integer bits, sign included, and fractional bits");
            return None;
        };
        let width = i32::from(m) + i32::from(n);
        if !(1..=32).contains(&width) || !Format::FRACTION.contains(&i32::from(n)) {
            let most = Format::FRACTION.end();
            let expected = format!("expected 1 to 32 bits, at most {most} of them fractional");
            self.problem(self.name, format!("{expected}, found {width}, {n} fractional"));
            return None;
        }
        self.count(0, 2, "<rounding, overflow>, both of which may miss")?;
        let (rounding, overflow) = self.modes(0, INT_MODES)?;
        let q = Q { signed, width: u8::try_from(width).ok()?, frac: i16::try_from(n).ok()? };
        Some(Format::Fixed { q, rounding, overflow })
    }

    fn int(&mut self, signed: bool, digits: &str) -> Option<Format> {
        let digits = self.name.from(self.name.text.len() - digits.len());
        let width = self.number(digits, "the width in bits, as in int8", 1..=32);
        self.count(0, 2, "<rounding, overflow>, both of which may miss")?;
        let (rounding, overflow) = self.modes(0, INT_MODES)?;
        let int = IntType { signed, width: u8::try_from(width?).ok()? };
        Some(Format::Int { int, rounding, overflow })
    }

    /// The rounding mode at argument `first` and the overflow mode behind it.
    fn modes(&mut self, first: usize, unless: (Rounding, Overflow)) -> Option<(Rounding, Overflow)> {
        let rounding = self.args.get(first).copied().map_or(Some(unless.0), |at| self.rounding(at));
        let overflow = self.args.get(first + 1).copied().map_or(Some(unless.1), |at| self.overflow(at));
        Some((rounding?, overflow?))
    }

    fn rounding(&mut self, at: Part) -> Option<Rounding> {
        let word = at.text.to_ascii_uppercase();
        let hls = word.strip_prefix("AC_").unwrap_or(&word);
        let found = Rounding::from_ap(hls)
            .or_else(|| Rounding::from_qonnx(&word))
            .or_else(|| Rounding::from_name(&word.to_ascii_lowercase()));
        if found.is_none() {
            self.problem(at, format!("expected a rounding mode ({ROUNDINGS}), found `{}`", at.text));
        }
        found
    }

    fn overflow(&mut self, at: Part) -> Option<Overflow> {
        let word = at.text.to_ascii_uppercase();
        let hls = word.strip_prefix("AC_").unwrap_or(&word);
        let found = Overflow::from_ap(hls);
        if hls.strip_prefix("AP_").unwrap_or(hls) == "WRAP_SM" {
            self.problem(
                at,
                format!("sign-magnitude wrapping (`{}`) is not supported; take {OVERFLOWS}", at.text),
            );
        } else if found.is_none() {
            self.problem(at, format!("expected an overflow mode ({OVERFLOWS}), found `{}`", at.text));
        }
        found
    }
}
