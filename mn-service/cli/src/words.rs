//! From a typed line to words: blanks separate, quotes and backslashes protect, JSON after `=` is taken as it stands.

/// A word of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Byte at which it starts in the line.
    pub start: usize,
    /// Its text without quotes.
    pub text: String,
}

/// A line taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scan {
    /// The words in order.
    pub words: Vec<Word>,
    /// What is still open at the end of the line: a quote or a bracket.
    pub open: Option<char>,
    /// The line ends with a blank, so that the next character starts a new word.
    pub ended: bool,
}

/// Takes a line apart, finished or not.
pub fn scan(line: &str) -> Scan {
    let mut scan = Scan { ended: true, ..Scan::default() };
    let mut chars = line.char_indices().peekable();
    while let Some((start, first)) = chars.peek().copied() {
        if first.is_whitespace() {
            chars.next();
            scan.ended = true;
            continue;
        }
        let mut text = String::new();
        scan.ended = false;
        let mut after_equals = false;
        while let Some((_, c)) = chars.peek().copied() {
            if c.is_whitespace() {
                break;
            }
            chars.next();
            let mut bare_equals = false;
            match c {
                '\'' => scan.open = until_quote(&mut chars, &mut text, '\'', false),
                '"' => scan.open = until_quote(&mut chars, &mut text, '"', true),
                '{' | '[' if after_equals => scan.open = json(&mut chars, &mut text, c),
                '\\' => match chars.next() {
                    Some((_, escaped)) => text.push(escaped),
                    None => scan.open = Some('\\'),
                },
                _ => {
                    bare_equals = c == '=';
                    text.push(c);
                }
            }
            after_equals = bare_equals;
        }
        scan.words.push(Word { start, text });
    }
    scan
}

/// The words of a finished line.
pub fn split(line: &str) -> Result<Vec<String>, String> {
    let scan = scan(line);
    match scan.open {
        None => Ok(scan.words.into_iter().map(|word| word.text).collect()),
        Some('\\') => Err("the line ends with a backslash that protects nothing; remove it or double it".to_owned()),
        Some(open @ ('\'' | '"')) => {
            Err(format!("the quote {open} is never closed; close it or put a backslash before it"))
        }
        Some(open) => Err(format!(
            "the {open} after = starts a JSON value that is never closed; close it, or quote the value to give it as text"
        )),
    }
}

type Chars<'a> = std::iter::Peekable<std::str::CharIndices<'a>>;

fn until_quote(chars: &mut Chars<'_>, text: &mut String, quote: char, escapes: bool) -> Option<char> {
    while let Some((_, c)) = chars.next() {
        match c {
            _ if c == quote => return None,
            '\\' if escapes && matches!(chars.peek(), Some((_, '"' | '\\'))) => {
                text.extend(chars.next().map(|(_, escaped)| escaped));
            }
            _ => text.push(c),
        }
    }
    Some(quote)
}

/// Copies a JSON array or object up to its closing bracket.
fn json(chars: &mut Chars<'_>, text: &mut String, first: char) -> Option<char> {
    text.push(first);
    let (mut depth, mut in_string, mut escaped) = (1_usize, false, false);
    for (_, c) in chars.by_ref() {
        text.push(c);
        match c {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            '{' | '[' if !in_string => depth += 1,
            '}' | ']' if !in_string => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return None;
        }
    }
    Some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_protect_blanks_and_vanish() {
        assert_eq!(
            split(r#"QueryHost  uuid="a b" name='it"s' x=a\ b y="q\"q\\" "#).unwrap(),
            ["QueryHost", "uuid=a b", "name=it\"s", "x=a b", "y=q\"q\\"]
        );
        assert_eq!(split("name=\"\"").unwrap(), ["name="]);
        assert!(split("  ").unwrap().is_empty());
    }

    #[test]
    fn json_after_an_equals_sign_keeps_quotes_and_blanks() {
        assert_eq!(
            split(r#"X info={"a": "b }\" c", "d": [1, 2]} l=["x y"] end"#).unwrap(),
            ["X", r#"info={"a": "b }\" c", "d": [1, 2]}"#, r#"l=["x y"]"#, "end"]
        );
        assert_eq!(split("name=a[1]").unwrap(), ["name=a[1]"], "a bracket inside a text is text");
    }

    #[test]
    fn what_is_left_open_is_named() {
        assert!(split("a 'b").unwrap_err().contains("quote '"));
        assert!(split("a={\"b\"").unwrap_err().contains("JSON"));
        assert!(split("a\\").unwrap_err().contains("backslash"));
    }

    #[test]
    fn a_scan_knows_where_words_start_and_whether_the_last_one_goes_on() {
        let open = scan("CreateZone na");
        assert_eq!(open.words[1], Word { start: 11, text: "na".into() });
        assert!(!open.ended);
        assert!(scan("CreateZone ").ended && scan("").ended);
    }
}
