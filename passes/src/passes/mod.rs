//! The passes, one file each. To add one: write the file, declare it here, add a line to [`crate::registry`].

mod canonical_layout;
mod clean_up;
mod common_subexpressions;
mod dead_code;
mod fold_batch_norm;
mod fold_constants;
mod fold_padding;
mod integerize;
mod luts;
mod quantize;

pub use canonical_layout::CanonicalLayout;
pub use clean_up::CleanUp;
pub use common_subexpressions::CommonSubexpressions;
pub use dead_code::DeadCode;
pub use fold_batch_norm::FoldBatchNorm;
pub use fold_constants::FoldConstants;
pub use fold_padding::FoldPadding;
pub use integerize::Integerize;
pub use luts::{LutConstants, LutDead, LutMerge, LutPins};
pub use quantize::QuantizeByRecipe;
