//! zstack-cli
