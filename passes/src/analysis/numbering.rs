//! Value numbering: equal numbers mean equal tensors, whatever the inputs.
//!
//! A value's number is that of its expression: the op with its attributes over the operands' numbers, down to
//! graph inputs by position and constants by their bits. Values of several graphs can share one [`Numberer`].

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use unfloat_ir::attrs::AttrWriter;
use unfloat_ir::{Op, OpDef, Tensor};

/// Hands out numbers.
#[derive(Default)]
pub struct Numberer {
    expressions: BTreeMap<String, u32>,
    constants: BTreeMap<String, Vec<(Arc<Tensor>, u32)>>,
    next: u32,
}

impl Numberer {
    /// No numbers yet.
    pub fn new() -> Self {
        Self::default()
    }
    fn intern(&mut self, key: String) -> u32 {
        let next = &mut self.next;
        *self.expressions.entry(key).or_insert_with(|| {
            *next += 1;
            *next
        })
    }
    /// The number of graph input `i`.
    pub fn input(&mut self, i: usize) -> u32 {
        self.intern(format!("input {i}"))
    }
    /// The number of a constant: the same for constants of the same type and bits.
    pub fn constant(&mut self, tensor: &Arc<Tensor>) -> u32 {
        // A few elements tell most constants apart; those that agree in them are compared in full.
        let n = tensor.len();
        let mut key = tensor.ty.to_string();
        for i in [0, n / 3, n / 2, n.saturating_sub(1)] {
            let _ = match tensor.as_f32() {
                Some(v) => write!(key, " {:x}", v.get(i).map_or(0, |x| x.to_bits())),
                None => write!(key, " {}", tensor.data.code(i).unwrap_or(0)),
            };
        }
        let alike = self.constants.entry(key).or_default();
        if let Some(same) = alike.iter().find(|(t, _)| Arc::ptr_eq(t, tensor) || t == tensor) {
            return same.1;
        }
        self.next += 1;
        alike.push((tensor.clone(), self.next));
        self.next
    }
    /// The number of an op over operands of the given numbers.
    pub fn node(&mut self, op: &Op, operands: &[u32]) -> u32 {
        let mut key = op_key(op);
        for operand in operands {
            let _ = write!(key, " {operand}");
        }
        self.intern(key)
    }
}

/// The op with its attributes as text: equal for equal ops.
pub fn op_key(op: &Op) -> String {
    let mut attrs = AttrWriter::default();
    op.attrs(&mut attrs);
    attrs.0.iter().fold(op.name().to_string(), |mut key, (name, value)| {
        let _ = write!(key, " {name}={value}");
        key
    })
}
