//! Passes on layers of look-up tables. All are exact: none changes a bit of what the graph computes.
//!
//! | pass | does |
//! |---|---|
//! | `lut-constants` | bits that are known are no pins any more |
//! | `lut-pins` | no pin twice, none that its table ignores |
//! | `lut-merge` | of equal tables of a layer, one is read |
//! | `lut-dead` | tables that no output needs go |

mod constants;
mod dead;
mod layer;
mod merge;
mod pins;
mod table;

pub use constants::LutConstants;
pub use dead::LutDead;
pub use merge::LutMerge;
pub use pins::LutPins;
