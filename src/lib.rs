//! aquatint trains diffusion models and draws pictures with them, on any GPU or on the host, from one native program.
//!
//! `ARCHITECTURE.md` is the map. In short: [`kernels`] records operations with a [`plan::Recorder`], which derives their
//! backward calls; the finished [`plan::Plan`] runs on a [`device`]; [`nn`] builds the U-Net of a diffusers
//! configuration from kernels.

#![warn(clippy::missing_errors_doc)]

pub mod atomic_file;
pub mod bench;
pub mod check;
pub mod checkpoint;
pub mod cli;
pub mod data;
mod decimal;
pub mod device;
mod diffusers_config;
pub mod diffusion;
mod error;
mod fingerprint;
pub mod kernels;
pub mod metrics;
pub mod nn;
mod parallel;
pub mod pictures;
pub mod plan;
pub mod training;

pub use error::{Error, Result};
