//! Plans of graphs that hold integers: exact, so every result is the reference evaluator's, to the bit.
//!
//! **In:** a graph whose values are floats or integers of any type (`Int`, `Bipolar`, `Ternary`, `Bit`). **Out:** its outputs,
//! floats or codes. Every value lies in the narrowest word that holds what it can be ([`Ranges`]). Convolutions and dense
//! layers take in what follows them (clamps, a requantization or thresholds), poolings and functions of elements have
//! kernels, and what has none (floats in the middle of a graph included) goes by its reference evaluation, one sample
//! at a time. **Refuses:** fixed-point and affine types.

mod bits;
mod elementwise;
mod fuse;
mod lower;
mod luts;
mod place;
mod run;
mod step;

pub(super) use lower::{is_integer_graph, plan};
pub(super) use run::{Buffers, Results, run, run_in};

use crate::kernels::int::{AlignedBytes, Word, bytes_of, decode, encode, view};
use std::ops::Deref;
use step::{Segment, Source};
use unfloat_ir::{Data, Diagnostic, Diagnostics, ElemType, Location};

/// A plan of integers. Sizes are in bytes.
pub(super) struct IntPlan {
    segments: Vec<Segment>,
    local_len: usize,
    shared_len: usize,
    scratch_len: usize,
    chunk: usize,
    group: usize,
    pub(super) inputs: Vec<Port>,
    pub(super) outputs: Vec<Port>,
    /// Where each output lies.
    shown: Vec<Source>,
}

/// An input or an output of the graph.
pub(super) struct Port {
    name: String,
    elem: ElemType,
    word: Word,
    /// Elements per sample.
    pub(super) len: usize,
}

impl IntPlan {
    /// Refuses models with inputs or outputs that are no floats.
    pub(super) fn check_floats(&self) -> Result<(), Diagnostics> {
        let mut found = Diagnostics::new();
        for port in self.inputs.iter().chain(&self.outputs).filter(|p| p.word != Word::F32) {
            let text = format!("`{}` holds {}, not floats; give and take it as codes", port.name, port.elem);
            found.push(Diagnostic::error(Location::default(), text));
        }
        found.into_result(())
    }

    /// Inputs as the plan's own words; those that no value of their type has are refused.
    pub(super) fn words<'a>(&self, inputs: &[&'a Data]) -> Result<Vec<Bytes<'a>>, Diagnostics> {
        let one = |(port, data): (&Port, &&'a Data)| {
            let fault = |text: String| {
                Diagnostics::from(Diagnostic::error(
                    Location::default(),
                    format!("input `{}`: {text}", port.name),
                ))
            };
            if let Data::F32(v) = data {
                return match port.word {
                    Word::F32 => Ok(Bytes::Lent(bytes_of(v))),
                    _ => Err(fault(format!("expected {}, found floats", port.elem))),
                };
            }
            if port.word == Word::F32 {
                return Err(fault("expected floats, found integers".to_string()));
            }
            let codes: Vec<i64> = (0..data.len()).filter_map(|i| data.code(i)).collect();
            if let Some(code) = codes.iter().find(|&&c| !port.elem.has_code(c)) {
                return Err(fault(format!("holds {code}, which {} does not have", port.elem)));
            }
            Ok(Bytes::Own(encoded(&codes, port.word)))
        };
        self.inputs.iter().zip(inputs).map(one).collect()
    }

    /// Results that are floats.
    pub(super) fn floats(&self, results: Results) -> Vec<Vec<f32>> {
        results.0.iter().map(|bytes| view::<f32>(bytes).to_vec()).collect()
    }

    /// Results of any types.
    pub(super) fn data(&self, results: Results) -> Vec<Data> {
        let one = |(port, bytes): (&Port, &AlignedBytes)| match port.word {
            Word::F32 => Data::F32(view::<f32>(bytes).to_vec()),
            word => Data::from_codes(&port.elem, decoded(word, bytes)),
        };
        self.outputs.iter().zip(&results.0).map(one).collect()
    }
}

/// The codes in bytes of a word of integers.
fn decoded(word: Word, bytes: &[u8]) -> Vec<i64> {
    let mut codes = vec![0; bytes.len() / word.bytes()];
    let done = decode(word, bytes, &mut codes);
    debug_assert!(done.is_ok(), "as many codes as elements, of a word of integers");
    codes
}

/// Codes as bytes of a word of integers.
fn encoded(codes: &[i64], word: Word) -> AlignedBytes {
    let mut bytes = AlignedBytes::zeroed(codes.len() * word.bytes());
    let done = encode(codes, word, &mut bytes);
    debug_assert!(done.is_ok(), "as many elements as codes, of a word of integers");
    bytes
}

/// The words of an input.
pub(super) enum Bytes<'a> {
    /// As the caller gives them.
    Lent(&'a [u8]),
    Own(AlignedBytes),
}

impl Deref for Bytes<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Lent(bytes) => bytes,
            Bytes::Own(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests;
