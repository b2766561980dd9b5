//! The cases, a file per subject.

pub(super) mod guest;
