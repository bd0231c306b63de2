//! Decodes a model without its weights, so that a file is never in memory beside its tensors.
//!
//! In: anything that reads and seeks. Out: a `ModelProto` in which large `raw_data` fields are stand-ins, and [`Later`],
//! which knows where in the file their bytes lie. Refuses: what is no protobuf, nesting beyond prost's limit of 100, and
//! what `scan` refuses.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use bytes::{Buf, Bytes};
use prost::Message;

use super::{ModelProto, scan};

/// Bytes that are read ahead.
const BLOCK: usize = 1 << 16;
/// Fields of more bytes stay in the file until their tensor is decoded.
const LARGE: usize = 1 << 16;

/// Where the bytes of large fields lie.
///
/// A field's stand-in is known by its address. The stand-ins are kept, so no other bytes can come to lie there.
#[derive(Default)]
pub(crate) struct Later(BTreeMap<usize, (Bytes, Range<u64>)>);

impl Later {
    fn leave(&mut self, range: Range<u64>) -> Bytes {
        let stand_in = Bytes::copy_from_slice(&[0]);
        self.0.insert(stand_in.as_ptr() as usize, (stand_in.clone(), range));
        stand_in
    }
    /// The place in the file of a field's bytes; nothing when the field holds them itself.
    pub(crate) fn range(&self, field: &Bytes) -> Option<Range<u64>> {
        self.0.get(&(field.as_ptr() as usize)).map(|(_, range)| range.clone())
    }
}

/// A file as prost reads it: a block at a time, large fields passed over.
struct Stream<'a, R> {
    source: &'a mut R,
    later: Later,
    size: u64,
    /// Bytes of the file not yet in `block`.
    rest: u64,
    block: Vec<u8>,
    at: usize,
    failed: Option<io::Error>,
}

impl<R: Read + Seek> Stream<'_, R> {
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

impl<R: Read + Seek> Buf for Stream<'_, R> {
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
        let count = count.min(self.remaining());
        let ahead = self.block.len() - self.at;
        if count <= LARGE.max(ahead) {
            let mut out = vec![0; count];
            self.copy_to_slice(&mut out);
            return Bytes::from(out);
        }
        let begin = self.size - self.rest - ahead as u64;
        let beyond = (count - ahead) as u64;
        self.at = self.block.len();
        match self.source.seek(SeekFrom::Start(begin + count as u64)) {
            Ok(_) => self.rest -= beyond,
            Err(error) => self.fail(error),
        }
        self.fill();
        self.later.leave(begin..begin + count as u64)
    }
}

/// Reads a model from the beginning of `source`.
///
/// # Errors
/// Why the bytes are no model.
pub(crate) fn decode<R: Read + Seek>(source: &mut R) -> Result<(ModelProto, Later), String> {
    let unreadable = |error: io::Error| format!("cannot be read: {error}");
    let size = source.seek(SeekFrom::End(0)).map_err(unreadable)?;
    scan::check(source, size)?;
    source.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    let later = Later::default();
    let mut stream = Stream { source, later, size, rest: size, block: Vec::new(), at: 0, failed: None };
    stream.fill();
    let model = ModelProto::decode(&mut stream);
    if let Some(error) = stream.failed.take() {
        return Err(unreadable(error));
    }
    let later = stream.later;
    model.map(|model| (model, later)).map_err(|error| format!("is no ONNX model: {error}"))
}
