//! Typed identifiers: 32 lower-case hexadecimal characters on the wire (PROTOCOL.md section 10).

use std::{cmp::Ordering, fmt, hash::Hash, hash::Hasher, marker::PhantomData, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use uuid::Uuid;

/// Names the kind of thing an [`Id`] identifies.
pub trait Kind {
    /// Word used in messages, for example `vm`.
    const WORD: &'static str;
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $marker:ident, $alias:ident, $word:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub enum $marker {}
        impl Kind for $marker {
            const WORD: &'static str = $word;
        }
        $(#[$doc])*
        pub type $alias = Id<$marker>;
    )*};
}

kinds! {
    /// A host that runs virtual machines.
    Host, HostId, "host";
    /// A virtual machine.
    Vm, VmId, "vm";
    /// A root or data volume.
    Volume, VolumeId, "volume";
    /// A point in time of one volume.
    Snapshot, SnapshotId, "snapshot";
    /// A disk or ISO image.
    Image, ImageId, "image";
    /// A primary storage or an image server.
    Storage, StorageId, "storage";
    /// A layer-2 network.
    L2, L2Id, "l2-network";
    /// A layer-3 network.
    L3, L3Id, "l3-network";
    /// A virtual network card.
    Nic, NicId, "nic";
    /// One request to an agent; chosen by the caller, so that asking twice does the work once.
    Job, JobId, "job";
}

/// A UUID that knows what it identifies; swapping two of them does not compile.
pub struct Id<K> {
    uuid: Uuid,
    kind: PhantomData<fn() -> K>,
}

impl<K> Id<K> {
    /// A fresh random id (version 4).
    pub fn random() -> Self {
        Self::from_uuid(Uuid::new_v4())
    }

    /// Gives a plain UUID its kind.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self { uuid, kind: PhantomData }
    }

    /// The plain UUID.
    pub const fn uuid(&self) -> Uuid {
        self.uuid
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Id<K> {}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.uuid == other.uuid
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.uuid.cmp(&other.uuid)
    }
}
impl<K> Hash for Id<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.uuid.hash(state);
    }
}

impl<K> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.uuid.simple())
    }
}

impl<K: Kind> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", K::WORD, self.uuid.simple())
    }
}

/// The text is no identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} id {text:?} is not 32 lower-case hexadecimal characters")]
pub struct IdError {
    kind: &'static str,
    text: String,
}

impl<K: Kind> FromStr for Id<K> {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let well_formed = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match Uuid::try_parse(text) {
            Ok(uuid) if well_formed => Ok(Self::from_uuid(uuid)),
            _ => Err(IdError { kind: K::WORD, text: text.to_owned() }),
        }
    }
}

impl<K> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, K: Kind> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_plain_hex_on_the_wire_and_named_in_messages() {
        let id: VmId = serde_json::from_str("\"36c27e8ff05c4780bf6d2fa65700f22e\"").unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"36c27e8ff05c4780bf6d2fa65700f22e\"");
        assert_eq!(format!("{id:?}"), "vm-36c27e8ff05c4780bf6d2fa65700f22e");
    }

    #[test]
    fn dashes_upper_case_and_short_texts_are_refused_by_name() {
        for text in ["36C27E8FF05C4780BF6D2FA65700F22E", "36c27e8f-f05c-4780-bf6d-2fa65700f22e", "abc", ""] {
            let error = text.parse::<VolumeId>().unwrap_err().to_string();
            assert!(error.starts_with("volume id") && error.contains("32 lower-case"), "{error}");
        }
    }
}
