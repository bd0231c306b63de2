//! The header of a `.npy` file: magic, version, length, and a Python dictionary of three keys.

use crate::NpyError;

/// The most text that a header may have. NumPy itself refuses more than 10 000 bytes by default.
const MAX_HEADER: usize = 10_000;

/// What a header says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// The element type as written, `<f4`.
    pub descr: String,
    /// The letter of the element type.
    pub kind: char,
    /// Bytes of one element.
    pub word: usize,
    /// Whether the bytes of an element are in little-endian order.
    pub little: bool,
    /// Whether the first axis varies fastest.
    pub fortran: bool,
    /// The extents.
    pub shape: Vec<usize>,
}

impl Header {
    /// Reads the header; returns it with the bytes behind it. A header of an array of Python objects is read as well;
    /// its elements are a pickle.
    ///
    /// # Errors
    /// When the bytes are no array, or one of a kind that is not supported.
    pub fn read(bytes: &[u8]) -> Result<(Self, &[u8]), NpyError> {
        let magic = bytes.strip_prefix(b"\x93NUMPY").ok_or_else(|| {
            NpyError::new("expected a NumPy array (the file does not begin with `\\x93NUMPY`)")
        })?;
        let cut = || NpyError::new("the file ends inside its header");
        let (version, rest) = magic.split_at_checked(2).ok_or_else(cut)?;
        let width = match version {
            [1, 0] => 2,
            [2, 0] | [3, 0] => 4,
            [major, minor] => {
                return Err(NpyError::new(format!("version {major}.{minor} of the format is not supported")));
            }
            _ => return Err(cut()),
        };
        let (length, rest) = rest.split_at_checked(width).ok_or_else(cut)?;
        let length = length.iter().rev().fold(0usize, |n, &b| n << 8 | usize::from(b));
        if length > MAX_HEADER {
            return Err(NpyError::new(format!("a header of {length} bytes; at most {MAX_HEADER} are read")));
        }
        let (text, body) = rest.split_at_checked(length).ok_or_else(cut)?;
        let text = std::str::from_utf8(text).map_err(|_| NpyError::new("the header is not text"))?;
        Ok((Self::parse(text)?, body))
    }

    fn parse(text: &str) -> Result<Self, NpyError> {
        let mut python = Python { rest: text };
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        python.mark('{')?;
        while !python.take('}') {
            let key = python.string()?;
            python.mark(':')?;
            match key.as_str() {
                "descr" if python.rest.starts_with('[') => {
                    return Err(NpyError::new("structured arrays are not supported"));
                }
                "descr" => descr = Some(python.string()?),
                "fortran_order" => fortran = Some(python.bool()?),
                "shape" => shape = Some(python.tuple()?),
                other => return Err(NpyError::new(format!("the header has an unknown key `{other}`"))),
            }
            if !python.take(',') && !python.rest.starts_with('}') {
                return Err(python.fault("`,` or `}`"));
            }
        }
        let missing = |key: &str| NpyError::new(format!("the header has no `{key}`"));
        let descr = descr.ok_or_else(|| missing("descr"))?;
        let (little, code) = match descr.strip_prefix(['<', '|', '=']) {
            Some(code) => (true, code),
            None => (false, descr.strip_prefix('>').unwrap_or(&descr)),
        };
        let mut chars = code.chars();
        let kind = chars.next().unwrap_or(' ');
        let word = match kind {
            // The size of a pointer, which NumPy does not write.
            'O' => Some(8),
            _ => chars.as_str().parse().ok().filter(|w| (1..=8).contains(w)),
        };
        let word =
            word.ok_or_else(|| NpyError::new(format!("elements of type `{descr}` are not supported")))?;
        Ok(Self {
            kind,
            word,
            little,
            fortran: fortran.ok_or_else(|| missing("fortran_order"))?,
            shape: shape.ok_or_else(|| missing("shape"))?,
            descr,
        })
    }

    /// Whether the elements are Python objects, stored as a pickle.
    pub fn is_object(&self) -> bool {
        self.kind == 'O'
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The number of elements, when `bytes` bytes hold that many.
    ///
    /// # Errors
    /// When they do not.
    pub fn checked_len(&self, bytes: usize) -> Result<usize, NpyError> {
        let count = unfloat_ir::Shape::from(self.shape.as_slice()).checked_len();
        match count.and_then(|n| n.checked_mul(self.word).map(|b| (n, b))) {
            Some((n, needed)) if needed <= bytes => Ok(n),
            _ => Err(NpyError::new(format!(
                "the shape {:?} of {}-byte elements needs more than the {bytes} bytes that follow the header",
                self.shape, self.word
            ))),
        }
    }
}

/// A cursor over the few Python literals that headers use.
struct Python<'a> {
    rest: &'a str,
}

impl Python<'_> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }
    fn fault(&self, wanted: &str) -> NpyError {
        let found: String = self.rest.chars().take(12).collect();
        NpyError::new(format!("the header is malformed: expected {wanted}, found `{found}`"))
    }
    fn take(&mut self, mark: char) -> bool {
        self.skip();
        match self.rest.strip_prefix(mark) {
            Some(rest) => {
                self.rest = rest;
                self.skip();
                true
            }
            None => false,
        }
    }
    fn mark(&mut self, mark: char) -> Result<(), NpyError> {
        if self.take(mark) { Ok(()) } else { Err(self.fault(&format!("`{mark}`"))) }
    }
    fn string(&mut self) -> Result<String, NpyError> {
        let quote = if self.take('"') { '"' } else { '\'' };
        if quote == '\'' {
            self.mark('\'')?;
        }
        let (text, rest) = self.rest.split_once(quote).ok_or_else(|| self.fault("a string"))?;
        let text = text.to_string();
        self.rest = rest;
        self.skip();
        Ok(text)
    }
    fn bool(&mut self) -> Result<bool, NpyError> {
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(rest) = self.rest.strip_prefix(word) {
                self.rest = rest;
                self.skip();
                return Ok(value);
            }
        }
        Err(self.fault("True or False"))
    }
    fn tuple(&mut self) -> Result<Vec<usize>, NpyError> {
        self.mark('(')?;
        let mut items = Vec::new();
        while !self.take(')') {
            let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
            items.push(self.rest[..end].parse().map_err(|_| self.fault("a size"))?);
            // Python 2 wrote `3L`.
            self.rest = self.rest[end..].trim_start_matches('L');
            self.skip();
            if !self.take(',') && !self.rest.starts_with(')') {
                return Err(self.fault("`,` or `)`"));
            }
        }
        if items.len() > unfloat_ir::Shape::MAX_RANK {
            return Err(NpyError::new(format!("{} axes are more than are supported", items.len())));
        }
        Ok(items)
    }
}

/// A version 1 header, padded so that the elements begin at a multiple of 64, as NumPy does.
pub(crate) fn write(descr: &str, shape: &[usize]) -> Vec<u8> {
    let mut dims: String = shape.iter().map(|d| format!("{d}, ")).collect();
    if shape.len() > 1 {
        dims.truncate(dims.len() - 2);
    } else {
        dims = dims.trim_end().to_string();
    }
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({dims}), }}");
    let total = (10 + text.len() + 1).next_multiple_of(64);
    let mut out = Vec::with_capacity(total);
    out.extend_from_slice(b"\x93NUMPY\x01\x00");
    out.extend_from_slice(&((total - 10) as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    out.resize(total - 1, b' ');
    out.push(b'\n');
    out
}
