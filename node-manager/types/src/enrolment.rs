//! How a node joins its cloud by a one-time code (docs/decisions/0015-enrolment.md): the code, and what node and
//! management service say to each other while neither trusts the other yet.
//!
//! Every message goes in an envelope with a proof: an HMAC under a key that only the code yields, over the certificate
//! of the service *as the sender sees it*. Who does not know the code can neither ask nor answer, and who stands in
//! between with a certificate of his own makes both ends see different ones.

mod code;

pub use code::{Code, CodeError, IDENTIFIER};

use std::{fmt, net::IpAddr};

use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Path of the management service to which envelopes are posted.
pub const PATH: &str = "/zstack/enrolment";

/// Port at which the management service is asked unless somebody says otherwise: that of its API.
pub const API_PORT: u16 = 8080;

const NODE: &str = "zstack enrolment 1: node";
const SERVICE: &str = "zstack enrolment 1: service";
const DERIVATION: &str = "zstack enrolment 1: key";

/// SHA-256 of a certificate (DER).
pub type Fingerprint = [u8; 32];

/// The fingerprint of a certificate (DER).
pub fn fingerprint(certificate: &[u8]) -> Fingerprint {
    Sha256::digest(certificate).into()
}

/// What both sides prove that they know, and nobody else does.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

/// A message and the proof that its sender knows the code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Public part of the code; names the record at the service. Empty in answers.
    #[serde(default)]
    pub code: String,
    /// Fingerprint of the service's certificate as the node sees it, in hexadecimal digits. It is covered by the proof
    /// and here only so that the service can say what is wrong. Empty in answers.
    #[serde(default)]
    pub certificate: String,
    /// JSON of a [`Question`] or an [`Answer`]; a text, because the proof is over bytes.
    pub message: String,
    /// HMAC-SHA256 in hexadecimal digits.
    pub proof: String,
}

/// What a node asks. Each carries a nonce, so that no two are alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Question {
    /// A certificate. Asked again with the same key, it is the same host.
    Certificate(Application),
    /// To be connected: the agent runs. Asked again while that is under way, it tells how far it is.
    Connect {
        /// 32 random bytes in hexadecimal digits.
        nonce: String,
        /// Uuid that the certificate names.
        host: String,
        /// Begin again when the last attempt failed.
        again: bool,
    },
}

/// Who wants a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Application {
    /// 32 random bytes in hexadecimal digits.
    pub nonce: String,
    /// Certificate signing request (PEM). Its public key counts; what else it asks for is ignored.
    pub request: String,
    /// `/etc/machine-id`.
    pub machine: String,
    /// Host name; the host is named after it.
    pub name: String,
    /// Management address of the node.
    pub address: IpAddr,
    /// Port of its agent.
    pub port: u16,
    /// What the node has been until now.
    #[serde(default)]
    pub enrolled: Option<Enrolled>,
}

/// The certificate that a node has already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// Fingerprint of its authority, in hexadecimal digits.
    pub authority: String,
    /// Host that it names.
    pub host: String,
}

/// What the service answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// The node is a host from now on.
    Certificate {
        /// Uuid of the host.
        host: String,
        /// Name of the host.
        name: String,
        /// Its certificate (PEM).
        certificate: String,
        /// Certificate of the internal authority (PEM).
        authority: String,
    },
    /// The service is at it.
    Connecting {
        /// Percent done.
        percent: u8,
        /// What is being done.
        stage: String,
    },
    /// The host is Connected.
    Connected {
        /// Its name.
        name: String,
    },
    /// It could not be connected; asking again with `again` tries once more.
    Failed {
        /// Why, and the way out.
        error: String,
    },
}

/// Why a node is not heard. It is told without proof: it gives nothing away, and nothing is done because of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    /// What kind of refusal it is.
    pub kind: RefusalKind,
    /// The rule and the way out.
    pub text: String,
    /// Seconds after which it makes sense to ask again.
    #[serde(default)]
    pub wait_seconds: u64,
}

/// Kinds of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// The connection is not encrypted, or somebody in between ends the encryption.
    Relay,
    /// No code is called so, or it was withdrawn.
    Unknown,
    /// The proof does not fit: a wrong code, or a changed message.
    Wrong,
    /// The code has lived too long, was used up, or was tried too often.
    Over,
    /// Too many attempts; later ones are heard again.
    Wait,
    /// The node is a host already, of this or another cloud, or another one has its address or identity.
    Taken,
    /// The question is not understood.
    Invalid,
    /// The service cannot at the moment.
    Unavailable,
    /// A kind of a later version.
    #[serde(other)]
    Other,
}

impl RefusalKind {
    /// Whether the same question may be answered some time later.
    pub fn may_pass(self) -> bool {
        matches!(self, Self::Wait | Self::Unavailable | Self::Other)
    }
}

impl Key {
    /// The key as a text for a sealed place.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The key that [`Key::to_hex`] wrote.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut key = [0; 32];
        hex::decode_to_slice(text, &mut key).ok()?;
        Some(Self(key))
    }

    /// A question of a node that sees the certificate `seen` of the service.
    pub fn ask(&self, code: &Code, seen: &Fingerprint, question: &Question) -> Result<Envelope, serde_json::Error> {
        let message = serde_json::to_string(question)?;
        let proof = self.prove(&[NODE.as_bytes(), seen, message.as_bytes()]);
        Ok(Envelope { code: code.identifier().to_owned(), certificate: hex::encode(seen), message, proof })
    }

    /// The question in an envelope that came to a service with the certificate `own`; nothing unless its sender knows
    /// the code, sees this very certificate, and the message is as it was sent.
    pub fn hear(&self, own: &Fingerprint, envelope: &Envelope) -> Option<String> {
        let parts: [&[u8]; 3] = [NODE.as_bytes(), own, envelope.message.as_bytes()];
        self.is_proven(&parts, &envelope.proof).then(|| envelope.message.clone())
    }

    /// The answer of a service with the certificate `own` to a question.
    pub fn answer(
        &self,
        own: &Fingerprint,
        question: &Envelope,
        answer: &Answer,
    ) -> Result<Envelope, serde_json::Error> {
        let message = serde_json::to_string(answer)?;
        let proof = self.prove(&[SERVICE.as_bytes(), own, question.message.as_bytes(), message.as_bytes()]);
        Ok(Envelope { code: String::new(), certificate: String::new(), message, proof })
    }

    /// The answer in an envelope; nothing unless it is the service's own, with the certificate that the node sees, and
    /// to this very question.
    pub fn accept(&self, seen: &Fingerprint, question: &Envelope, envelope: &Envelope) -> Option<Answer> {
        let parts: [&[u8]; 4] = [SERVICE.as_bytes(), seen, question.message.as_bytes(), envelope.message.as_bytes()];
        self.is_proven(&parts, &envelope.proof).then(|| serde_json::from_str(&envelope.message).ok())?
    }

    fn mac(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        mac(&self.0, parts)
    }

    fn prove(&self, parts: &[&[u8]]) -> String {
        hex::encode(self.mac(parts).finalize().into_bytes())
    }

    /// Compares in constant time.
    fn is_proven(&self, parts: &[&[u8]], proof: &str) -> bool {
        hex::decode(proof).is_ok_and(|proof| self.mac(parts).verify_slice(&proof).is_ok())
    }
}

/// Each part with its length before it, so that no two lists of parts are the same bytes.
fn mac(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    // Keys shorter than a block are padded, longer ones hashed (RFC 2104): there is no wrong length.
    let mut padded = [0; 64];
    match padded.get_mut(..key.len()) {
        Some(start) => start.copy_from_slice(key),
        None => padded[..32].copy_from_slice(&Sha256::digest(key)),
    }
    let mut mac = Hmac::<Sha256>::new(&padded.into());
    for part in parts {
        mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        mac.update(part);
    }
    mac
}

#[cfg(test)]
#[path = "enrolment/tests.rs"]
mod tests;
