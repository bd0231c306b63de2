//! Keras models.
mod config;
mod container;
mod problem;
mod version;
mod weights;
