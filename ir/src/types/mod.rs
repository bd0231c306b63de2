//! The types of values: element, shape per sample, layout; and the number formats that users ask for.

mod elem;
mod format;
mod layout;
mod log2;
mod overflow;
mod rounding;
mod shape;

pub use elem::{Affine, ElemType, IntType, Q};
pub use format::{Format, FormatError};
pub use layout::Layout;
pub use log2::{Log2, Midpoint};
pub use overflow::Overflow;
pub use rounding::Rounding;
pub use shape::Shape;

use std::fmt;

/// The type of one value: what an element means, the shape of one sample, and which axis is which.
///
/// Printed as `f32[32,32,3] hwc`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TensorType {
    /// What one element is.
    pub elem: ElemType,
    /// Extent of each axis, per sample.
    pub shape: Shape,
    /// The name of each axis; as many as the shape has.
    pub layout: Layout,
}

impl TensorType {
    /// A type from its parts. The verifier checks that layout and shape have the same rank.
    pub fn new(elem: ElemType, shape: impl Into<Shape>, layout: Layout) -> Self {
        Self { elem, shape: shape.into(), layout }
    }
    /// A float type.
    pub fn f32(shape: impl Into<Shape>, layout: Layout) -> Self {
        Self::new(ElemType::F32, shape, layout)
    }
    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.shape.rank()
    }
    /// The same shape and layout with another element type.
    pub fn with_elem(&self, elem: ElemType) -> Self {
        Self { elem, ..self.clone() }
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.elem, self.shape)?;
        if self.rank() > 0 {
            write!(f, " {}", self.layout)?;
        }
        Ok(())
    }
}

/// How far a graph has come. Each stage allows less than the one before; [`crate::verify`] has the rules.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Stage {
    /// As the source file has it: any layout.
    Imported,
    /// Channels-last throughout, no identities, no ops that are spelled by others.
    Canonical,
    /// Batch normalisation and constants folded into their neighbours.
    Folded,
    /// No float value but the declared ones.
    Quantized,
    /// What a backend emits as it stands.
    Lowered,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: [Stage; 5] =
        [Stage::Imported, Stage::Canonical, Stage::Folded, Stage::Quantized, Stage::Lowered];

    /// The name used in text.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Imported => "imported",
            Stage::Canonical => "canonical",
            Stage::Folded => "folded",
            Stage::Quantized => "quantized",
            Stage::Lowered => "lowered",
        }
    }
    /// The stage of that name.
    pub fn from_name(name: &str) -> Option<Stage> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
