//! How a value is written so that it stays a value.

/// The syntax of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// Words of a kickstart command or of a shell script within one.
    Kickstart,
    /// The rest of a line.
    Preseed,
    /// A scalar, or a list in brackets.
    Yaml,
    /// The content of an element or an attribute.
    Xml,
}

/// The text in the syntax. `Err` says what it cannot contain.
pub(crate) fn escape(syntax: Syntax, text: &str) -> Result<String, &'static str> {
    match syntax {
        Syntax::Kickstart => match text.contains(crate::words::LINE_ENDS) {
            true => Err("a line break"),
            false => shell(text),
        },
        Syntax::Preseed => {
            if text.contains(char::is_control) || text.contains(crate::words::LINE_ENDS) {
                return Err("a line break or another control character");
            }
            // A backslash at the end of the line would continue it.
            if text.ends_with('\\') { Err("a backslash at its end") } else { Ok(text.to_owned()) }
        }
        // What is JSON is YAML too.
        Syntax::Yaml => Ok(json_string(text)),
        Syntax::Xml => xml(text),
    }
}

/// The text as one word of a POSIX shell, which is one word of kickstart too.
pub(crate) fn shell(text: &str) -> Result<String, &'static str> {
    if text.contains('\0') {
        return Err("a NUL character");
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return Ok(text.to_owned());
    }
    Ok(format!("'{}'", text.replace('\'', "'\"'\"'")))
}

fn json_string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(character);
            }
            // Control characters, and what YAML takes for the end of a line.
            '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

fn xml(text: &str) -> Result<String, &'static str> {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\t' | '\n' | '\r' => escaped.push_str(&format!("&#{};", u32::from(character))),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {
                return Err("a control character, which XML has no way to say");
            }
            _ => escaped.push(character),
        }
    }
    Ok(escaped)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::words;

    proptest! {
        #[test]
        fn a_value_is_one_word_of_kickstart(text in "\\PC*") {
            let escaped = escape(Syntax::Kickstart, &text);
            prop_assert_eq!(escaped.is_err(), text.contains(words::LINE_ENDS));
            let Ok(escaped) = escaped else { return Ok(()) };
            let line = format!("x --y={escaped}");
            let read: Vec<String> = words::split(&line, true).unwrap().words.into_iter().map(|word| word.text).collect();
            prop_assert_eq!(read, vec!["x".to_owned(), format!("--y={text}")]);
        }

        #[test]
        fn a_value_is_one_scalar_of_yaml(text in any::<String>()) {
            let document = format!("a: {}\nb: 1\n", escape(Syntax::Yaml, &text).unwrap());
            let read: serde_json::Value = serde_saphyr::from_str(&document).unwrap();
            prop_assert_eq!(read, serde_json::json!({"a": text, "b": 1}));
        }

        #[test]
        fn a_value_is_one_text_of_xml(text in any::<String>()) {
            if let Ok(escaped) = escape(Syntax::Xml, &text) {
                let document = format!("<a b=\"{escaped}\">{escaped}</a>");
                let read = roxmltree::Document::parse(&document).unwrap();
                prop_assert_eq!(read.root_element().attribute("b"), Some(text.as_str()));
                prop_assert_eq!(read.root_element().text().unwrap_or_default(), text);
            }
        }
    }

    #[test]
    fn what_a_syntax_cannot_say_is_refused() {
        assert!(escape(Syntax::Kickstart, "a\nrootpw x").is_err());
        assert!(escape(Syntax::Preseed, "a\nd-i x").is_err());
        assert!(escape(Syntax::Preseed, "a\\").is_err());
        assert!(escape(Syntax::Xml, "a\u{1}").is_err());
        assert!(shell("a\0b").is_err());
    }
}
