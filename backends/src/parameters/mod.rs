//! Parameters as data for other platforms: MATLAB, text, NumPy, memories of hardware.
//!
//! **In:** tensors under their names, from a checkpoint or from a graph. **Out:** for each [`Format`] that is asked for a
//! folder of its name with a file per tensor, named after it, and, where a file can hold several, one `NAME` with all;
//! what stands in them is listed in the manifest. **Refuses,** all at once: what a format cannot hold, names that stand
//! twice.
//!
//! Floats are single precision. Integers of any type are their codes; codes of a type with a scale
//! ([`ElemType::Quant`], [`ElemType::Fixed`]) have two more tensors beside them, `KEY.scale` and `KEY.zero_point`, with
//! value = (code − zero point) · scale. Bits, which are −1 and +1 or 0 and 1, come as integers and, in formats of bytes,
//! also as [packed] bytes, `KEY.packed`.
//!
//! [packed]: packed()
//!
//! To add a format: a folder here beside that has one [`Format`], and a line in [`crate::registry::FORMATS`].

mod names;

use crate::manifest::{Manifest, ParameterEntry};
use crate::outdir::{File, OutDir, Render};
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Arc;
use unfloat_ir::arena::Handle;
use unfloat_ir::{
    Data, Diagnostic, Diagnostics, ElemType, Graph, IntType, Layout, Location, Tensor, TensorType,
};

/// Writes one file of named tensors.
pub type WriteFile = fn(&[(&str, &Tensor)], &mut dyn Write) -> io::Result<()>;

/// A file format for tensors.
pub struct Format {
    /// The name, as in `--emit mat`; also the folder of its files.
    pub name: &'static str,
    /// What its files' names end with.
    pub extension: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Why a tensor cannot be written; nothing when it can.
    pub fault: fn(&Tensor) -> Option<String>,
    /// Writes a file of one tensor under its name.
    pub one: WriteFile,
    /// Writes a file of all tensors, if the format has such files.
    pub all: Option<WriteFile>,
    /// Whether bits are also written as packed bytes.
    pub packs: bool,
}

/// A tensor under its name.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// The name, `features.0.weight`.
    pub key: String,
    /// The values.
    pub tensor: Arc<Tensor>,
}

/// The constants that a graph computes with, under the names of their values, which are unique in a graph, in the order
/// in which they are first read.
pub fn of_graph(graph: &Graph) -> Vec<Parameter> {
    let graph = graph.compact();
    let read = graph.live_nodes().flat_map(|(_, node)| node.inputs.iter().copied());
    let shown = graph.outputs().iter().map(|o| o.value);
    let mut seen = BTreeSet::new();
    let fresh = read.chain(shown).filter(|v| seen.insert(v.index()));
    let parameter = |value| {
        let tensor = graph.const_of(value)?.clone();
        Some(Parameter { key: graph.value(value).name.clone(), tensor })
    };
    fresh.filter_map(parameter).collect()
}

/// `key,(128, 3, 3, 3)`: the line that stands for a tensor, with control characters of the key escaped.
pub fn line(key: &str, shape: &[usize]) -> String {
    let dims: Vec<String> = shape.iter().map(usize::to_string).collect();
    format!("{},({})", escaped(key), dims.join(", "))
}

/// A name on one line.
pub(crate) fn escaped(key: &str) -> String {
    key.chars().fold(String::new(), |mut out, c| {
        if c.is_control() {
            out.extend(c.escape_default())
        } else {
            out.push(c)
        }
        out
    })
}

/// The elements of a tensor of bits, eight to a byte, in row-major order: element `8·j + i` is bit `i`, the least
/// significant first, of byte `j`; a bit is set for +1 and for 1. What is over in the last byte is 0. As NumPy's
/// `packbits(x.ravel() > 0, bitorder='little')`. Nothing for other types.
pub fn packed(tensor: &Tensor) -> Option<Tensor> {
    if !matches!(tensor.ty.elem, ElemType::Bipolar | ElemType::Bit) {
        return None;
    }
    let byte = |j: usize| {
        let set = |i: &usize| tensor.data.code(8 * j + i).is_some_and(|c| c > 0);
        (0..8).filter(set).map(|i| 1i64 << i).sum::<i64>()
    };
    let bytes = tensor.len().div_ceil(8);
    let ty = TensorType::new(ElemType::Int(IntType::unsigned(8)), [bytes], Layout::anonymous(1));
    Some(Tensor::codes(ty, (0..bytes).map(byte)))
}

/// Tensors with all that is written of them, and the names of the files.
pub struct Set {
    name: String,
    items: Vec<Item>,
    entries: Vec<ParameterEntry>,
}

/// One tensor of a file.
struct Item {
    /// Its name in a file of all.
    variable: String,
    /// What the file of this one is called, without the extension.
    stem: String,
    /// What it is called in the header of a file.
    key: String,
    /// Whether it is the packed form of another, which not every format has.
    is_packed: bool,
    tensor: Arc<Tensor>,
}

impl Set {
    /// The tensors of the model `name`.
    ///
    /// # Errors
    /// When a name stands twice, and when there is nothing.
    pub fn new(name: &str, parameters: Vec<Parameter>) -> Result<Self, Diagnostics> {
        let mut found = Diagnostics::new();
        let mut all: Vec<(Parameter, bool)> = Vec::new();
        for parameter in parameters {
            let packed = packed(&parameter.tensor).map(|t| beside(&parameter.key, "packed", t));
            let (scale, zero) = scales(&parameter.tensor).unzip();
            let scale = scale.map(|t| beside(&parameter.key, "scale", t));
            let zero = zero.map(|t| beside(&parameter.key, "zero_point", t));
            all.push((parameter, false));
            all.extend([scale, zero].into_iter().flatten().map(|p| (p, false)));
            all.extend(packed.map(|p| (p, true)));
        }
        let mut seen = BTreeSet::new();
        for (parameter, _) in &all {
            if !seen.insert(&parameter.key) {
                let text = format!("two tensors would be called `{}`", escaped(&parameter.key));
                found.push(Diagnostic::error(Location::default(), text));
            }
        }
        if all.is_empty() {
            found.push(Diagnostic::error(Location::default(), "there are no parameters to write"));
        }
        let keys: Vec<&str> = all.iter().map(|(p, _)| p.key.as_str()).collect();
        let stems = names::file_stems(&keys, name);
        let variables = names::variables(&keys);
        let item = |((p, is_packed), (stem, variable)): ((Parameter, bool), (String, String))| Item {
            variable,
            stem,
            key: p.key,
            is_packed,
            tensor: p.tensor,
        };
        let items: Vec<Item> = all.into_iter().zip(stems.into_iter().zip(variables)).map(item).collect();
        let entries = items.iter().map(Item::entry).collect();
        found.into_result(Self { name: name.to_string(), items, entries })
    }

    /// `key,shape` of every tensor, as [`line()`] gives it; packed forms are left out.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.items.iter().filter(|i| !i.is_packed).map(|i| line(&i.key, i.tensor.shape().dims()))
    }

    /// Why a format cannot hold these tensors: all reasons.
    pub fn check(&self, format: &Format) -> Result<(), Diagnostics> {
        let mut found = Diagnostics::new();
        for item in self.of(format) {
            if let Some(fault) = (format.fault)(&item.tensor) {
                let text = format!("`{}` {fault}", escaped(&item.key));
                found.push(Diagnostic::error(Location::file(format.name), text));
            }
        }
        found.into_result(())
    }

    /// Adds the files of a format, and lists them in the manifest. Fails with what [`Set::check`] finds, and then adds
    /// nothing.
    pub fn emit(
        &self,
        format: &'static Format,
        out: &mut OutDir,
        manifest: &mut Manifest,
    ) -> Result<(), Diagnostics> {
        self.check(format)?;
        let path = |stem: &str| format!("{}/{stem}.{}", format.name, format.extension);
        for item in self.of(format) {
            let file = Lazy { write: format.one, tensors: vec![(item.key.clone(), item.tensor.clone())] };
            out.add(&path(&item.stem), file.into_file())?;
        }
        if let Some(write) = format.all {
            let tensors = self.of(format).map(|i| (i.variable.clone(), i.tensor.clone())).collect();
            out.add(&path(&self.name), Lazy { write, tensors }.into_file())?;
        }
        manifest.formats.push(format.name.to_string());
        manifest.parameters.clone_from(&self.entries);
        Ok(())
    }

    fn of(&self, format: &Format) -> impl Iterator<Item = &Item> {
        let packs = format.packs;
        self.items.iter().filter(move |i| packs || !i.is_packed)
    }
}

impl Item {
    fn entry(&self) -> ParameterEntry {
        let ty = &self.tensor.ty;
        ParameterEntry {
            key: self.key.clone(),
            shape: ty.shape.to_vec(),
            layout: ty.layout.to_string(),
            elem: ty.elem.to_string(),
            file: self.stem.clone(),
            variable: self.variable.clone(),
        }
    }
}

/// A tensor that belongs to another.
fn beside(key: &str, what: &str, tensor: Tensor) -> Parameter {
    Parameter { key: format!("{key}.{what}"), tensor: Arc::new(tensor) }
}

/// Scale and zero point of codes that have them, each broadcast along the one axis that they vary along.
fn scales(tensor: &Tensor) -> Option<(Tensor, Tensor)> {
    let int = |shape: Vec<usize>, zero: &[i64]| {
        let layout = Layout::anonymous(shape.len());
        let (lo, hi) = (zero.iter().min().copied().unwrap_or(0), zero.iter().max().copied().unwrap_or(0));
        let elem = ElemType::Int(IntType::covering(lo.min(-1), hi));
        Tensor::codes(TensorType::new(elem, shape, layout), zero.iter().copied())
    };
    match &tensor.ty.elem {
        ElemType::Quant(affine) => {
            let mut shape = Vec::new();
            if let Some(axis) = affine.axis {
                shape = vec![1; tensor.ty.rank()];
                shape[axis] = affine.scale.len();
            }
            let layout = Layout::anonymous(shape.len());
            Some((Tensor::f32(shape.clone(), layout, affine.scale.clone()), int(shape, &affine.zero)))
        }
        ElemType::Fixed(q) => {
            let scale = Tensor::f32([], Layout::anonymous(0), vec![q.lsb() as f32]);
            Some((scale, int(Vec::new(), &[0])))
        }
        _ => None,
    }
}

/// A file that is made when it is written.
struct Lazy {
    write: WriteFile,
    tensors: Vec<(String, Arc<Tensor>)>,
}

impl Lazy {
    fn into_file(self) -> File {
        let mut file = File::new();
        file.lazy(Arc::new(self));
        file
    }
}

impl Render for Lazy {
    fn render(&self, to: &mut dyn Write) -> io::Result<()> {
        let tensors: Vec<(&str, &Tensor)> =
            self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.as_ref())).collect();
        (self.write)(&tensors, to)
    }
}

/// How elements stand in a file of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Word {
    /// Single precision.
    F32,
    /// A truth value in a byte.
    Bool,
    /// A signed integer of that many bytes.
    Signed(usize),
    /// An unsigned integer of that many bytes.
    Unsigned(usize),
}

impl Word {
    /// The narrowest word of 8, 16, 32 or 64 bits that holds every code of the type. −1 and +1 are signed bytes.
    pub(crate) fn of(elem: &ElemType) -> Self {
        let Some((lo, _)) = elem.code_range() else { return Word::F32 };
        let bits = match elem {
            ElemType::Bit => return Word::Bool,
            ElemType::Bipolar | ElemType::Ternary => 8,
            other => other.bits(),
        };
        let bytes = (bits as usize).div_ceil(8).next_power_of_two();
        if lo < 0 { Word::Signed(bytes) } else { Word::Unsigned(bytes) }
    }
    /// Bytes of a word.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Word::F32 => 4,
            Word::Bool => 1,
            Word::Signed(bytes) | Word::Unsigned(bytes) => bytes,
        }
    }
    /// The little-endian bytes of element `i`, the first [`Word::bytes`] of them.
    pub(crate) fn element(self, data: &Data, i: usize) -> [u8; 8] {
        match data {
            Data::F32(v) => {
                let [a, b, c, d] = v.get(i).copied().unwrap_or_default().to_le_bytes();
                [a, b, c, d, 0, 0, 0, 0]
            }
            codes => codes.code(i).unwrap_or(0).to_le_bytes(),
        }
    }
}

#[cfg(test)]
mod tests;
