//! zstack-ctl
