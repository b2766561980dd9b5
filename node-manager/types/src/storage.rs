//! Storage below a root directory: volumes, image cache, image server.
//!
//! Every path is absolute and must lie below the root that the operation names; the agent refuses others. A root
//! carries a marker file with its [`StorageId`], so that a missing mount is noticed instead of filled.

use serde::{Deserialize, Serialize};

use crate::{ByteSize, StorageId};

/// A directory that belongs to one primary storage or image server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageRoot {
    /// Owner.
    pub id: StorageId,
    /// Absolute directory.
    pub path: String,
}

/// Room in the file system of a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Size of the file system.
    pub total: ByteSize,
    /// Free to unprivileged users.
    pub available: ByteSize,
}

/// A qcow2 file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VolumeFacts {
    /// Absolute path.
    pub path: String,
    /// Virtual size.
    pub size: ByteSize,
    /// Bytes allocated on disk.
    pub actual_size: ByteSize,
}

/// Query of [`crate::path::CONTENT`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContentQuery {
    /// Root id.
    pub storage: StorageId,
    /// Root path.
    pub root: String,
    /// Absolute path below it.
    pub path: String,
    /// `PUT` only: where the body goes. 0 starts a new file (an existing finished file is refused); anything else must
    /// be at most the present size, so that a repeated chunk is harmless and a hole impossible.
    #[serde(default)]
    pub offset: u64,
    /// `PUT` only, with the last chunk: the file hashes to [`Self::sha256`], then takes this name below the same root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rename_to: Option<String>,
    /// `PUT` only, required by [`Self::rename_to`]: lower-case hex SHA-256 of the whole file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// Answer to `PUT` on [`crate::path::CONTENT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentSize {
    /// Bytes of the file now; where the next chunk goes.
    pub size: u64,
}
