//! Hashes of passwords, as `crypt(5)` writes them.

/// Methods by how their hashes begin, and the length of the last part, which is the hash itself.
const METHODS: [(&str, usize); 9] = [
    ("$y$", 43),
    ("$gy$", 43),
    ("$7$", 43),
    ("$2b$", 53),
    ("$2a$", 53),
    ("$2y$", 53),
    ("$6$", 86),
    ("$5$", 43),
    ("$1$", 22),
];

/// Whether a hash is whole: `$method$salt$hash` with a hash as long as the method makes it. One that lost a character on
/// its way (it was typed, or a shell took a `$` for its own) looks well and lets nobody in.
pub fn is_hash(text: &str) -> bool {
    let Some((_, length)) = METHODS.iter().find(|(prefix, _)| text.starts_with(prefix)) else { return false };
    let hash = text.rsplit('$').next().unwrap_or_default();
    let of_crypt = |byte: u8| byte.is_ascii_alphanumeric() || b"./".contains(&byte);
    // Rounds, salts and parameters; nothing that would end a field or a line of `/etc/shadow`.
    let before = |byte: u8| byte.is_ascii_graphic() && byte != b':' && byte != b'!' && byte != b'*';
    text.matches('$').count() >= 3 && hash.len() == *length && hash.bytes().all(of_crypt) && text.bytes().all(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_hashes_of_known_methods_are_hashes() {
        let sha512 =
            "$6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2/jctKu9YterLp8wwnSq.qc.eoxqOmSuNp2xS0ktL3nh/";
        for whole in [
            sha512,
            "$5$rounds=10000$saltstringsaltst$3xv.VbSCBX41eDL9L3voZredvuQhkK8i9rOc5xcfFN2",
            "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7",
            "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
            "$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/",
        ] {
            assert!(is_hash(whole), "{whole}");
            assert!(!is_hash(&whole[..whole.len() - 1]), "cut: {whole}");
        }
        for wrong in
            ["", "secret", "$6$", "$3$salt$abcdefghijklmnopqrstuvwxyz", &sha512.replace("FmFH", "Fm:H"), &sha512[1..]]
        {
            assert!(!is_hash(wrong), "{wrong}");
        }
    }
}
