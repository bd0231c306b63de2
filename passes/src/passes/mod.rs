//! The passes, one file each. To add one: write the file, declare it here, add a line to [`crate::registry`].

mod binarize;
mod canonical_layout;
mod clean_up;
mod common_subexpressions;
mod dead_code;
mod fold_batch_norm;
mod fold_constants;
mod fold_padding;
mod fold_signs;
mod integerize;
mod luts;
mod quantize;
mod sign_zero;
mod signed_weights;

pub use binarize::Binarize;
pub use canonical_layout::CanonicalLayout;
pub use clean_up::CleanUp;
pub use common_subexpressions::CommonSubexpressions;
pub use dead_code::DeadCode;
pub use fold_batch_norm::FoldBatchNorm;
pub use fold_constants::FoldConstants;
pub use fold_padding::FoldPadding;
pub use fold_signs::FoldSigns;
pub use integerize::Integerize;
pub use luts::{LutConstants, LutDead, LutMerge, LutPins};
pub use quantize::QuantizeByRecipe;
pub use sign_zero::SignZero;
