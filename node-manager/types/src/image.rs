//! Images: how they reach an image server and from there a host.

use serde::{Deserialize, Serialize};

use crate::{ByteSize, HostId, storage::StorageRoot};

/// Where a new image comes from (CS-IMG-021).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum ImageSource {
    /// `http://` or `https://`.
    Http {
        /// The URL, possibly with credentials: never log it.
        url: String,
    },
    /// `file:///` on the image server itself.
    File {
        /// Absolute path.
        path: String,
    },
    /// Bytes that were uploaded to this path below the root (see [`crate::path::CONTENT`]).
    Uploaded {
        /// Absolute path; removed when the image is in place.
        path: String,
        /// Size the client promised.
        size: ByteSize,
    },
}

/// File format of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageFormat {
    /// QEMU copy-on-write 2.
    Qcow2,
    /// Plain bytes.
    Raw,
    /// CD image.
    Iso,
}

/// An image in place on an image server or in a host's cache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageFacts {
    /// Absolute path.
    pub path: String,
    /// Detected format.
    pub format: ImageFormat,
    /// Virtual size.
    pub size: ByteSize,
    /// Bytes of the file.
    pub actual_size: ByteSize,
    /// Lower-case hex SHA-256 of the file.
    pub sha256: String,
}

/// What another host may do with a file that management announced to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Fetch it.
    Read,
    /// Send it, as a new file.
    Write,
}

/// An image server as another host reaches it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageServer {
    /// Base URL of its agent, for example `https://192.0.2.3:7443`.
    pub url: String,
    /// The host behind the URL; its certificate is checked against this id, and an agent that finds its own id here
    /// moves files instead of sending them. An `https` URL needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostId>,
    /// Its root there.
    pub root: StorageRoot,
}
