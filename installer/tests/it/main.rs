//! The installer as its users see it.

mod kickstart;
mod screen;
