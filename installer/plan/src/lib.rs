//! From answers and facts to a plan of an installation, without touching anything.

pub mod manifest;
