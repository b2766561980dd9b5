//! The installer as its users see it.

mod screen;
