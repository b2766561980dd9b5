//! hostcmd
