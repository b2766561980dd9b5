//! iso-build
