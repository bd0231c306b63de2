//! Bytes in order, with what is left of them, so that a length can be refused before anything is allocated.

use std::io::{BufRead, Read};

use super::Span;

/// A source of bytes. `left` bounds what may be asked for; it is the size of the file, or less.
pub struct Input<'a> {
    reader: &'a mut dyn BufRead,
    left: u64,
    at: u64,
}

impl<'a> Input<'a> {
    /// A source of which `left` bytes remain.
    pub fn new(reader: &'a mut dyn BufRead, left: u64) -> Self {
        Self { reader, left, at: 0 }
    }
    /// How many bytes were read.
    pub fn position(&self) -> u64 {
        self.at
    }
    /// How many bytes remain.
    pub fn left(&self) -> u64 {
        self.left
    }
    /// One byte.
    pub fn byte(&mut self) -> Result<u8, String> {
        self.array::<1>().map(|[byte]| byte)
    }
    /// `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        self.claim(N as u64)?;
        self.reader.read_exact(&mut bytes).map_err(|e| format!("cannot be read: {e}"))?;
        Ok(bytes)
    }
    /// Adds the next `len` bytes to `blob`.
    pub fn take(&mut self, len: u64, blob: &mut Vec<u8>) -> Result<Span, String> {
        self.claim(len)?;
        let start = blob.len();
        let wanted = usize::try_from(len).map_err(|_| "is too large for this machine".to_string())?;
        blob.reserve(wanted);
        let mut bounded = (&mut self.reader).take(len);
        let read = bounded.read_to_end(blob).map_err(|e| format!("cannot be read: {e}"))?;
        if read != wanted {
            return Err("ends too early".to_string());
        }
        Ok(Span { start, len: wanted })
    }
    /// A line without its end.
    pub fn line(&mut self) -> Result<Vec<u8>, String> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.reader).take(self.left);
        bounded.read_until(b'\n', &mut line).map_err(|e| format!("cannot be read: {e}"))?;
        self.claim(line.len() as u64)?;
        match line.pop() {
            Some(b'\n') => Ok(line),
            _ => Err("ends inside a line".to_string()),
        }
    }
    /// Counts bytes as read.
    fn claim(&mut self, len: u64) -> Result<(), String> {
        self.left = self
            .left
            .checked_sub(len)
            .ok_or_else(|| format!("expected {len} more bytes, found {}", self.left))?;
        self.at = self.at.saturating_add(len);
        Ok(())
    }
}
