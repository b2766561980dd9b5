//! The code that a person reads off one screen and types at another.

use std::{fmt, str::FromStr};

use super::{DERIVATION, Key, mac};

/// Crockford's base 32: no letter that is taken for a digit or another letter.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Characters of the public part.
pub const IDENTIFIER: usize = 4;
/// Characters in all: 20 bits that name the record, 80 bits of secret.
const CHARACTERS: usize = 20;
/// Characters between two hyphens.
const GROUP: usize = 4;

/// A one-time enrolment code. Its first group names the record at the service, the rest is the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Code(String);

/// The code is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// Too short or too long.
    #[error("a code has {CHARACTERS} characters in five groups of four, and this one has {0}")]
    Length(usize),
    /// A character that codes do not have.
    #[error("{0:?} is in no code; codes are of digits and letters without U")]
    Character(char),
}

impl Code {
    /// The code of 100 random bits, five in each byte.
    pub fn of(random: [u8; CHARACTERS]) -> Self {
        Self(random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect())
    }

    /// The part that is no secret.
    pub fn identifier(&self) -> &str {
        &self.0[..IDENTIFIER]
    }

    /// What both sides derive from the code. The secret has 80 random bits, so it needs no stretching.
    pub fn key(&self) -> Key {
        use hmac::Mac as _;
        let (identifier, secret) = self.0.split_at(IDENTIFIER);
        Key(mac(secret.as_bytes(), &[DERIVATION.as_bytes(), identifier.as_bytes()]).finalize().into_bytes().into())
    }

    /// The code in groups, for the one who made it. It is not `Display`, so that it gets into no log by chance.
    pub fn reveal(&self) -> String {
        let groups: Vec<String> =
            self.0.as_bytes().chunks(GROUP).map(|group| group.iter().map(|b| char::from(*b)).collect()).collect();
        groups.join("-")
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code({}-***)", self.identifier())
    }
}

impl FromStr for Code {
    type Err = CodeError;

    /// Small letters, hyphens and blanks do not matter, and what looks alike is the same.
    fn from_str(text: &str) -> Result<Self, CodeError> {
        let mut code = String::with_capacity(CHARACTERS);
        for character in text.chars().filter(|c| *c != '-' && !c.is_whitespace()) {
            let meant = match character.to_ascii_uppercase() {
                'I' | 'L' => '1',
                'O' => '0',
                other => other,
            };
            if !u8::try_from(meant).is_ok_and(|byte| ALPHABET.contains(&byte)) {
                return Err(CodeError::Character(character));
            }
            code.push(meant);
        }
        if code.len() == CHARACTERS { Ok(Self(code)) } else { Err(CodeError::Length(code.len())) }
    }
}
