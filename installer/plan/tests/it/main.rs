//! Plans as their users see them.

mod cases;
mod properties;
