//! Command lines for a remote shell: the one place that quotes, and the one that asks sudo.

use std::fmt;

/// A password; it never shows in logs or errors.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Wraps a password; an empty one means that there is none.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        (!text.is_empty()).then_some(Self(text))
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(***)")
    }
}

/// How a login becomes root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Elevation {
    /// The login is root.
    Root,
    /// sudo asks for nothing.
    Sudo,
    /// sudo asks for the login's password.
    SudoPassword(Password),
}

/// What is sent to the host: a line for the login's shell, and what the program gets on its standard input.
#[derive(PartialEq, Eq)]
pub struct CommandLine {
    /// Line for the shell.
    pub line: String,
    /// Standard input.
    pub stdin: Vec<u8>,
}

impl fmt::Debug for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The standard input may be a password.
        f.debug_struct("CommandLine").field("line", &self.line).finish_non_exhaustive()
    }
}

/// A word holds a NUL byte, which no argument can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a command argument holds a NUL byte")]
pub struct NulByte;

/// Quotes one word for a POSIX shell, whatever is in it.
pub fn quote(word: &str) -> Result<String, NulByte> {
    if word.contains('\0') {
        return Err(NulByte);
    }
    Ok(format!("'{}'", word.replace('\'', r"'\''")))
}

/// The line that makes a shell run exactly this program with exactly these arguments.
pub fn line(argv: &[&str]) -> Result<String, NulByte> {
    let words: Result<Vec<String>, NulByte> = argv.iter().map(|word| quote(word)).collect();
    Ok(words?.join(" "))
}

/// Runs `argv` as the login itself.
pub fn plain(argv: &[&str]) -> Result<CommandLine, NulByte> {
    Ok(CommandLine { line: line(argv)?, stdin: Vec::new() })
}

/// Runs `argv` as root.
pub fn elevated(argv: &[&str], elevation: &Elevation) -> Result<CommandLine, NulByte> {
    match elevation {
        Elevation::Root => plain(argv),
        Elevation::Sudo => plain(&[&["sudo", "-n", "--"], argv].concat()),
        Elevation::SudoPassword(password) => {
            // -k: sudo reads the password even when it remembers us, else the program would find it on its standard
            // input. The program itself gets none.
            let prefix = ["sudo", "-k", "-S", "-p", "", "--", "sh", "-c", r#"exec "$@" </dev/null"#, "sh"];
            let stdin = format!("{}\n", password.reveal()).into_bytes();
            Ok(CommandLine { line: line(&[&prefix, argv].concat())?, stdin })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    /// What a real shell makes of the line.
    fn words_seen_by_a_shell(argv: &[&str]) -> Vec<Vec<u8>> {
        let printed = [&["printf", r"%s\0"], argv].concat();
        let out = Command::new("sh").arg("-c").arg(line(&printed).unwrap()).output().unwrap();
        assert!(out.status.success(), "{out:?}");
        let mut words: Vec<Vec<u8>> = out.stdout.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
        assert_eq!(words.pop(), Some(Vec::new()), "every word ends with NUL");
        words
    }

    #[test]
    fn hostile_words_stay_words() {
        let hostile =
            ["$(id)", "`id`", "a b", "", "it's", "'", "''", "\"$HOME\"", "; rm -rf /", "a\nb", "\\", "*", "~", "!x"];
        let seen = words_seen_by_a_shell(&hostile);
        assert_eq!(seen, hostile.map(|word| word.as_bytes().to_vec()));
        assert_eq!(quote("a\0b"), Err(NulByte));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_words_stay_words(words in proptest::collection::vec("[^\\x00]{0,12}", 1..4)) {
            let argv: Vec<&str> = words.iter().map(String::as_str).collect();
            let expected: Vec<Vec<u8>> = words.iter().map(|word| word.clone().into_bytes()).collect();
            prop_assert_eq!(words_seen_by_a_shell(&argv), expected);
        }
    }

    #[test]
    fn a_password_goes_to_sudo_by_standard_input_alone() {
        let secret = Password::new("pässw'ord").unwrap();
        let command = elevated(&["id", "-u"], &Elevation::SudoPassword(secret.clone())).unwrap();
        assert!(!command.line.contains("word") && command.line.starts_with("'sudo' '-k' '-S'"), "{}", command.line);
        assert_eq!(command.stdin, "pässw'ord\n".as_bytes());
        assert!(!format!("{command:?} {secret:?}").contains("ssw'ord"));
        assert_eq!(elevated(&["id"], &Elevation::Sudo).unwrap().line, "'sudo' '-n' '--' 'id'");
        assert_eq!(elevated(&["id"], &Elevation::Root).unwrap(), plain(&["id"]).unwrap());
        assert_eq!(Password::new(""), None);
    }
}
