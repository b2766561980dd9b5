//! How a field of a form looks, and texts that fit their room: the console's screens and the installer's.

use ratatui::{
    style::Style,
    text::{Line, Span},
};
use unicode_width::UnicodeWidthStr as _;

use crate::{
    look::Look,
    window::form::{Field, Input},
};

/// Columns of the room for typing, at most.
const ROOM: usize = 40;

/// The lines of a field, and the column of its cursor. `label` is the width of all labels, `width` that of the window.
pub fn lines(look: Look, field: &Field, selected: bool, label: usize, width: usize) -> (Vec<Line<'static>>, usize) {
    let name = cut(&field.label, label);
    let name = Span::raw(format!("{name}{} ", " ".repeat(label.saturating_sub(name.width()))));
    let begin = label + 2;
    let room = width.saturating_sub(begin + 1).max(4);
    let style = if selected { look.selected() } else { Style::new() };
    match &field.input {
        Input::Text | Input::Secret => {
            let shown = match field.input {
                Input::Secret => "*".repeat(field.value().chars().count()),
                _ => field.value().to_owned(),
            };
            let before: String = shown.chars().take(field.cursor()).collect();
            // The cursor stays in sight in what is longer than the field.
            let hidden = before.chars().count().saturating_sub(room - 1);
            let seen: String = shown.chars().skip(hidden).collect();
            let seen = cut(&seen, room);
            let rest = room.min(ROOM).saturating_sub(seen.width());
            let column: String = before.chars().skip(hidden).collect();
            let text = Span::styled(format!("[{seen}{}]", "_".repeat(rest)), style);
            (vec![Line::from(vec![name, text])], begin + column.width())
        }
        Input::Choice(_) => {
            let value = cut(field.value(), room.saturating_sub(4));
            (vec![Line::from(vec![name, Span::styled(format!("< {value} >"), style)])], begin)
        }
        Input::Many(options) => {
            let (mut lines, mut spans, mut used) = (Vec::new(), vec![name], label + 1);
            for (at, (option, on)) in options.iter().enumerate() {
                let text = format!("[{}] {option}", if *on { 'x' } else { ' ' });
                if used + text.width() > width && used > label + 1 {
                    lines.push(Line::from(std::mem::take(&mut spans)));
                    spans.push(Span::raw(" ".repeat(label + 1)));
                    used = label + 1;
                }
                used += text.width() + 2;
                let style = if selected && at == field.cursor() { look.selected() } else { Style::new() };
                spans.extend([Span::styled(text, style), Span::raw("  ")]);
            }
            lines.push(Line::from(spans));
            (lines, begin)
        }
    }
}

/// The beginning of a text that is no wider than that.
pub fn cut(text: &str, width: usize) -> String {
    let mut taken = 0;
    let fits = |character: &char| {
        taken += unicode_width::UnicodeWidthChar::width(*character).unwrap_or(0);
        taken <= width
    };
    text.chars().take_while(fits).collect()
}

/// A text in lines that are no wider than that, broken at blanks where there are some.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_inclusive(' ') {
        if !line.is_empty() && line.width() + word.trim_end().width() > width {
            lines.push(std::mem::take(&mut line));
        }
        line.push_str(word);
        while line.trim_end().width() > width {
            let head = cut(&line, width);
            if head.is_empty() {
                break;
            }
            line = line.split_off(head.len());
            lines.push(head);
        }
    }
    lines.push(line);
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_at_blanks_and_by_its_width() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrapped("管理节点 ok", 4), ["管理", "节点", "ok"]);
        assert_eq!(wrapped("", 5), [""]);
        assert_eq!(cut("管理节点", 5), "管理");
    }
}
