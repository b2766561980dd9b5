//! VNC authentication (RFC 6143, 7.2.2): a challenge that is encrypted with the password.

use des::{
    Des,
    cipher::{BlockCipherEncrypt as _, KeyInit as _},
};
use subtle::ConstantTimeEq as _;

/// Bytes of a challenge.
pub(super) const CHALLENGE: usize = 16;

/// What somebody who knows the password answers: DES of both halves. The key is the first eight bytes of the password with
/// the bits of each in reverse order.
pub fn response(password: &[u8], challenge: [u8; CHALLENGE]) -> [u8; CHALLENGE] {
    let mut key = [0; 8];
    for (to, from) in key.iter_mut().zip(password) {
        *to = from.reverse_bits();
    }
    let cipher = Des::new(&key.into());
    let mut answer = challenge;
    for half in answer.chunks_exact_mut(8) {
        let mut block = [0; 8];
        block.copy_from_slice(half);
        let mut block = block.into();
        cipher.encrypt_block(&mut block);
        half.copy_from_slice(&block);
    }
    answer
}

/// Whether an answer shows that the password is known.
pub(super) fn knows(password: &str, challenge: [u8; CHALLENGE], answer: [u8; CHALLENGE]) -> bool {
    response(password.as_bytes(), challenge).ct_eq(&answer).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 46-3 as it is taught: key 133457799BBCDFF1, text 0123456789ABCDEF, cipher 85E813540F0AB405.
    #[test]
    fn the_key_is_the_password_with_its_bits_reversed() {
        let key: [u8; 8] = [0x13, 0x34, 0x57, 0x79, 0x9b, 0xbc, 0xdf, 0xf1];
        let half = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];
        let mut challenge = [0; CHALLENGE];
        challenge[..8].copy_from_slice(&half);
        challenge[8..].copy_from_slice(&half);
        let answer = response(&key.map(u8::reverse_bits), challenge);
        let expected = [0x85, 0xe8, 0x13, 0x54, 0x0f, 0x0a, 0xb4, 0x05];
        assert_eq!((&answer[..8], &answer[8..]), (&expected[..], &expected[..]));
    }

    #[test]
    fn eight_characters_count_and_every_one_of_them() {
        let challenge = *b"0123456789abcdef";
        let answer = response(b"abcdefgh", challenge);
        assert!(knows("abcdefghjkmn", challenge, answer));
        assert!(!knows("abcdefgx", challenge, answer) && !knows("abc", challenge, answer));
        assert!(!knows("abcdefgh", *b"0123456789abcdeg", answer));
    }
}
