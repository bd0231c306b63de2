//! Decodes a model while it is being read, so that a file is never in memory beside its tensors.
//!
//! In: anything that reads and seeks. Out: a `ModelProto` whose large `raw_data` fields each own their bytes, read
//! straight from the file. Refuses: what is no protobuf, nesting beyond prost's limit of 100, and what `scan` refuses.

use std::io::{self, Read, Seek, SeekFrom};

use bytes::{Buf, Bytes};
use prost::Message;

use super::{ModelProto, scan};

/// Bytes that are read ahead.
const BLOCK: usize = 1 << 16;

/// A file as prost reads it: a block at a time, large fields directly.
struct Stream<'a, R> {
    source: &'a mut R,
    /// Bytes of the file not yet in `block`.
    rest: u64,
    block: Vec<u8>,
    at: usize,
    failed: Option<io::Error>,
}

impl<R: Read> Stream<'_, R> {
    /// Reads the next block when the last is used up. prost's buffers cannot fail, so a failure is remembered and
    /// the rest of the file reads as ended.
    fn fill(&mut self) {
        if self.at < self.block.len() || self.rest == 0 {
            return;
        }
        let size = BLOCK.min(usize::try_from(self.rest).unwrap_or(BLOCK));
        self.block.resize(size, 0);
        self.at = 0;
        match self.source.read_exact(&mut self.block) {
            Ok(()) => self.rest -= size as u64,
            Err(error) => self.fail(error),
        }
    }
    fn fail(&mut self, error: io::Error) {
        self.failed = Some(error);
        self.rest = 0;
        self.block.clear();
        self.at = 0;
    }
}

impl<R: Read> Buf for Stream<'_, R> {
    fn remaining(&self) -> usize {
        let ahead = self.block.len() - self.at;
        usize::try_from(self.rest).unwrap_or(usize::MAX).saturating_add(ahead)
    }
    fn chunk(&self) -> &[u8] {
        &self.block[self.at..]
    }
    fn advance(&mut self, mut count: usize) {
        while count > 0 && self.failed.is_none() {
            let step = count.min(self.block.len() - self.at);
            self.at += step;
            count -= step;
            self.fill();
            if step == 0 && self.at == self.block.len() {
                break;
            }
        }
    }
    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        let mut out = vec![0; count.min(self.remaining())];
        let ahead = out.len().min(self.block.len() - self.at);
        out[..ahead].copy_from_slice(&self.block[self.at..self.at + ahead]);
        self.at += ahead;
        if ahead < out.len() {
            match self.source.read_exact(&mut out[ahead..]) {
                Ok(()) => self.rest -= (out.len() - ahead) as u64,
                Err(error) => self.fail(error),
            }
        }
        self.fill();
        Bytes::from(out)
    }
}

/// Reads a model from the beginning of `source`.
///
/// # Errors
/// Why the bytes are no model.
pub(crate) fn decode<R: Read + Seek>(source: &mut R) -> Result<ModelProto, String> {
    let unreadable = |error: io::Error| format!("cannot be read: {error}");
    let rest = source.seek(SeekFrom::End(0)).map_err(unreadable)?;
    scan::check(source, rest)?;
    source.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    let mut stream = Stream { source, rest, block: Vec::new(), at: 0, failed: None };
    stream.fill();
    let model = ModelProto::decode(&mut stream);
    if let Some(error) = stream.failed {
        return Err(unreadable(error));
    }
    model.map_err(|error| format!("is no ONNX model: {error}"))
}
