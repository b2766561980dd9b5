//! The commands against the real kernel, in network namespaces of the tests.
//!
//! Root is needed; without it the tests fail and say so. What the kernel at hand lacks (VLANs and bonds on some) is tested
//! for a clear refusal here, and for its work inside a guest.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod attach;
mod guard;
mod others;
mod roundtrip;
mod settings;
mod show;
mod turns;
mod words;
mod world;
