//! Lines and words: how a line of the file is taken apart, and how a value is quoted so that it survives that.
//!
//! The rules are those of Python's `shlex.split` in POSIX mode, which pykickstart uses: blanks separate words, single
//! quotes keep everything, double quotes keep everything but `\"` and `\\`, a backslash keeps one character, and an
//! unquoted `#` begins a comment, also inside a word.

/// A word of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    /// The word without its quotes.
    pub(crate) text: String,
    /// Where it begins, in characters from 1.
    pub(crate) column: usize,
}

/// A line that was taken apart.
#[derive(Debug, Default)]
pub(crate) struct Words {
    pub(crate) words: Vec<Word>,
    /// The column of a `#` that ends a word and begins a comment, which is rarely meant.
    pub(crate) cut: Option<usize>,
}

/// What keeps a line from being taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) column: usize,
    pub(crate) message: &'static str,
}

/// The characters at which Python ends a line. None of them can be part of a value.
pub(crate) const LINE_ENDS: [char; 10] =
    ['\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];

/// Where the lexer is.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Between,
    Word,
    Single { opened: usize },
    Double { opened: usize },
}

/// Takes a line without its line end apart. With `comments`, an unquoted `#` ends it.
pub(crate) fn split(line: &str, comments: bool) -> Result<Words, Broken> {
    let mut found = Words::default();
    let mut state = State::Between;
    let mut word = Word { text: String::new(), column: 1 };
    let mut characters = line.chars().zip(1..).peekable();
    while let Some((character, column)) = characters.next() {
        match state {
            State::Between | State::Word => {
                if state == State::Between {
                    word.column = column;
                }
                match character {
                    ' ' | '\t' | '\r' | '\n' => {
                        if state == State::Word {
                            found.words.push(std::mem::replace(&mut word, Word { text: String::new(), column }));
                        }
                        state = State::Between;
                    }
                    '#' if comments => {
                        found.cut = (state == State::Word).then_some(column);
                        break;
                    }
                    '\'' => state = State::Single { opened: column },
                    '"' => state = State::Double { opened: column },
                    '\\' => match characters.next() {
                        Some((escaped, _)) => {
                            word.text.push(escaped);
                            state = State::Word;
                        }
                        None => {
                            return Err(Broken {
                                column,
                                message: "a backslash at the end of a line does not continue it: \
                                          write the command on one line.",
                            });
                        }
                    },
                    _ => {
                        word.text.push(character);
                        state = State::Word;
                    }
                }
            }
            State::Single { .. } if character == '\'' => state = State::Word,
            State::Double { .. } if character == '"' => state = State::Word,
            State::Double { .. } if character == '\\' => match characters.peek() {
                Some(&(next @ ('"' | '\\'), _)) => {
                    word.text.push(next);
                    characters.next();
                }
                _ => word.text.push('\\'),
            },
            State::Single { .. } | State::Double { .. } => word.text.push(character),
        }
    }
    match state {
        State::Between => Ok(found),
        State::Word => {
            found.words.push(word);
            Ok(found)
        }
        State::Single { opened } | State::Double { opened } => Err(Broken {
            column: opened,
            message: "this quote is not closed on its line: close it, or write it as \\' or \\\".",
        }),
    }
}

/// A value so that [`split`] gives it back: as it is where that is safe, otherwise in double quotes, which read best.
pub(crate) fn quote(value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_^*$!~[]{}".contains(c);
    if !value.is_empty() && value.chars().all(is_plain) {
        return value.to_owned();
    }
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('"');
    for character in value.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

/// `--name=value` with the value quoted where needed.
pub(crate) fn assignment(name: &str, value: &str) -> String {
    if value.is_empty() { format!("{name}=") } else { format!("{name}={}", quote(value)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(line: &str) -> Vec<String> {
        split(line, true).unwrap().words.into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn quotes_escapes_and_comments_are_those_of_a_posix_shell() {
        assert_eq!(texts(r#"a "b c" 'd "e' f\ g "h\"i\\j\k""#), ["a", "b c", "d \"e", "f g", "h\"i\\j\\k"]);
        assert_eq!(texts("--name=\"x y\"z  # comment"), ["--name=x yz"]);
        assert_eq!(texts("a '' \"\""), ["a", "", ""]);
        assert_eq!(texts("# all comment"), Vec::<String>::new());
    }

    #[test]
    fn a_hash_inside_a_word_cuts_it_and_says_where() {
        let words = split("rootpw a#b", true).unwrap();
        assert_eq!((words.words[1].text.as_str(), words.cut), ("a", Some(9)));
        assert_eq!(split("realm join a#b", false).unwrap().words[2].text, "a#b");
    }

    #[test]
    fn columns_are_counted_in_characters() {
        let words = split("läng  'ä' x", true).unwrap().words;
        assert_eq!(words.iter().map(|word| word.column).collect::<Vec<_>>(), [1, 7, 11]);
    }

    #[test]
    fn what_is_left_open_is_refused_where_it_was_opened() {
        assert_eq!(split("a \"b", true).unwrap_err().column, 3);
        assert_eq!(split("part / \\", true).unwrap_err().column, 8);
    }

    proptest! {
        #[test]
        fn a_quoted_value_comes_back(value in "\\PC*", name in "--[a-z]{1,8}") {
            prop_assert_eq!(texts(&format!("x {}", quote(&value))), vec!["x".to_owned(), value.clone()]);
            prop_assert_eq!(texts(&assignment(&name, &value)), vec![format!("{name}={value}")]);
        }

        #[test]
        fn any_line_is_taken_apart_or_refused(line in any::<String>()) {
            let _ = split(&line, true);
            let _ = split(&line, false);
        }
    }
}
