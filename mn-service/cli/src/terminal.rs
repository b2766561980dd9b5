//! Reading a secret from the terminal without showing it.

use std::io::{IsTerminal, Write};

use nix::{
    errno::Errno,
    sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr},
};

use crate::failure::Failure;

/// Puts the terminal back as it was, however reading ends.
struct Restore(Termios);

impl Drop for Restore {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that went away.
        let _gone = tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, &self.0);
    }
}

/// True when a person can be asked.
pub fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Prints `prompt` and reads a line without echo. Ctrl-C gives up, Ctrl-U starts over.
pub fn read_secret(prompt: &str) -> Result<String, Failure> {
    let failed = |what: &str, errno: Errno| Failure::Local(format!("cannot {what} the terminal: {}", errno.desc()));
    let before = tcgetattr(std::io::stdin()).map_err(|errno| failed("ask", errno))?;
    let mut silent = before.clone();
    // Signals are off too: Ctrl-C in the middle would leave a terminal without echo behind.
    silent.local_flags.remove(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG);
    let restore = Restore(before);
    tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, &silent).map_err(|errno| failed("silence", errno))?;
    let mut stderr = std::io::stderr();
    // A prompt that cannot be shown does not keep the answer from being read.
    let _unseen = stderr.write_all(prompt.as_bytes()).and_then(|()| stderr.flush());
    let result = read_line(|byte| {
        loop {
            match nix::unistd::read(std::io::stdin(), byte) {
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(failed("read", errno)),
                Ok(count) => return Ok(count > 0),
            }
        }
    });
    drop(restore);
    let _unseen = stderr.write_all(b"\n");
    result
}

/// Edits a line byte by byte; `next` stores the next byte and says whether there was one.
fn read_line(mut next: impl FnMut(&mut [u8; 1]) -> Result<bool, Failure>) -> Result<String, Failure> {
    let mut typed: Vec<u8> = Vec::new();
    let mut byte = [0; 1];
    loop {
        if !next(&mut byte)? {
            return Err(Failure::Interrupted("the terminal was closed; nothing was sent".to_owned()));
        }
        match byte[0] {
            b'\n' | b'\r' => break,
            3 | 4 => return Err(Failure::Interrupted("given up; nothing was sent".to_owned())),
            21 => typed.clear(),
            8 | 127 => {
                // One character, which in UTF-8 is its first byte and all continuation bytes after it.
                while let Some(last) = typed.pop() {
                    if last & 0b1100_0000 != 0b1000_0000 {
                        break;
                    }
                }
            }
            other => typed.push(other),
        }
    }
    String::from_utf8(typed).map_err(|_| Failure::Local("what was typed is no UTF-8 text; nothing was sent".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &str) -> Result<String, Failure> {
        let mut bytes = keys.bytes();
        read_line(|byte| {
            Ok(match bytes.next() {
                Some(next) => {
                    byte[0] = next;
                    true
                }
                None => false,
            })
        })
    }

    #[test]
    fn keys_edit_the_line() {
        assert_eq!(typed("aé\u{7f}b\r").unwrap(), "ab");
        assert_eq!(typed("abc\u{15}x y\n").unwrap(), "x y");
        assert!(matches!(typed("ab\u{3}"), Err(Failure::Interrupted(_))));
        assert!(matches!(typed("ab"), Err(Failure::Interrupted(_))));
    }
}
