//! What lies where on the screen: the geometry that drawing and the mouse share.

use ratatui::layout::{Constraint, Layout, Margin, Position, Rect};

use super::{SMALLEST, centred, windows};
use crate::{
    app::{App, Screen, Window},
    entries,
};

/// Columns of the buttons of the system configuration.
pub(super) const ENTRY: u16 = 44;
/// Columns of the buttons of the power screen.
pub(super) const POWER: u16 = 20;

/// The header, the screen, and the line with what keys do.
pub(super) fn parts(area: Rect) -> [Rect; 3] {
    Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)]).areas(area)
}

/// What is inside a frame.
pub(super) fn inside(frame: Rect) -> Rect {
    frame.inner(Margin::new(1, 1))
}

/// The buttons of the system configuration, and the line below them.
pub(super) fn configuration(app: &App, body: Rect) -> [Rect; 2] {
    let [list, _, hint] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(1), Constraint::Length(1)]).areas(inside(body));
    let height = u16::try_from(app.entries().len()).unwrap_or(u16::MAX).min(list.height);
    [centred(list, ENTRY, height), hint]
}

/// The buttons of the power screen.
pub(super) fn power(body: Rect) -> Rect {
    centred(inside(body), POWER, u16::try_from(entries::POWER.len()).unwrap_or(u16::MAX))
}

/// The button or the line of a list that is seen at this place. Only what the window on top shows can be meant: what lies
/// below it is out of reach, for keys as well.
pub(crate) fn pointed_at(app: &App, area: Rect, place: Position) -> Option<usize> {
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        return None;
    }
    let [_, body, _] = parts(area);
    let (lines, first, count) = match (app.top(), app.screen) {
        (Some(Window::List(_, list)), _) => {
            let (lines, first) = windows::items(body, list);
            (lines, first, list.items.len())
        }
        (None, Screen::Configuration(_)) => (configuration(app, body)[0], 0, app.entries().len()),
        (None, Screen::Power(_)) => (power(body), 0, entries::POWER.len()),
        _ => return None,
    };
    let at = first + usize::from(place.y.checked_sub(lines.y)?);
    (lines.contains(place) && at < count).then_some(at)
}
