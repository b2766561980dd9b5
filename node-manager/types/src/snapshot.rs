//! Snapshots of qcow2 volumes. A snapshot is the frozen layer that was active before; the volume goes on in a new
//! layer on top. Layers never change once frozen, except when [`crate::operation::MergeSnapshot`] pulls them together.

use serde::{Deserialize, Serialize};

use crate::ByteSize;

/// Result of taking a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SnapshotFacts {
    /// The frozen layer.
    pub snapshot_path: String,
    /// Bytes it occupies.
    pub snapshot_size: ByteSize,
    /// The layer the volume writes to from now on.
    pub volume_path: String,
}
