//! One file per command.

pub mod audit;
pub mod convert;
pub mod data;
pub mod eval;
pub mod export;
pub mod inspect;
pub mod meta;
pub mod opt;
pub mod passes;
pub mod prove;
pub mod recipe;
pub mod run;
pub mod verify;
