//! `NAME.ports.json`: how a model's tensors lie in the data words, what the pipeline is like, what it takes.

use super::lower::PortBits;
use serde::{Deserialize, Serialize};
use unfloat_ir::{IntType, Layout, Shape, TensorType};

/// The whole file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Ports {
    /// The top module.
    pub module: String,
    /// `clk`, rising edge; none of it matters at latency 0.
    pub clock: String,
    /// `rst`, synchronous, active high.
    pub reset: String,
    /// Clock cycles from a sample to its result, while nothing waits.
    pub latency: usize,
    /// Clock cycles from a sample to the next.
    pub interval: usize,
    /// What lies in `in_data`.
    pub in_data: Word,
    /// What lies in `out_data`.
    pub out_data: Word,
    /// The modules that data goes through, in order.
    pub stages: Vec<Stage>,
    /// An estimate: tables of six inputs, on a device that has them and carry chains.
    pub luts: usize,
    /// Flip-flops.
    pub registers: usize,
}

/// A data word.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Word {
    /// Bits.
    pub width: usize,
    /// The tensors in it, from bit 0 on.
    pub tensors: Vec<PortEntry>,
}

/// A tensor in a data word: row-major, the first element in the lowest bits.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PortEntry {
    /// The model's name of it.
    pub name: String,
    /// The type of an element in the model.
    #[serde(rename = "type")]
    pub elem: String,
    /// The extents.
    pub shape: Vec<usize>,
    /// The name of each axis.
    pub layout: String,
    /// Its lowest bit.
    pub first_bit: usize,
    /// Bits of an element.
    pub element_bits: u8,
    /// Whether an element is in two's complement.
    pub signed: bool,
}

/// A unit.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Stage {
    /// Its module.
    pub module: String,
    /// Where it comes from.
    pub origin: String,
    /// Tables of six inputs, estimated.
    pub luts: usize,
    /// Flip-flops behind it.
    pub registers: usize,
}

impl PortEntry {
    /// The entry of a port.
    pub fn new(port: &PortBits) -> Self {
        Self {
            name: port.name.clone(),
            elem: port.ty.elem.to_string(),
            shape: port.ty.shape.to_vec(),
            layout: port.ty.layout.to_string(),
            first_bit: port.first,
            element_bits: port.element.width,
            signed: port.element.signed,
        }
    }

    /// The tensor's type, and its element's place in the word; nothing where the file has been changed into nonsense.
    pub fn read(&self) -> Option<(TensorType, IntType)> {
        let elem = unfloat_ir::ElemType::from_name(&self.elem)?;
        let layout = Layout::new(&self.layout).filter(|l| l.rank() == self.shape.len())?;
        let element = IntType { signed: self.signed, width: self.element_bits };
        let shape = Shape::from(&self.shape[..]);
        shape.checked_len().filter(|&n| n <= 1 << 16 && element.is_valid())?;
        Some((TensorType::new(elem, shape, layout), element))
    }
}
