//! What is on the screen at a moment, cell by cell.

use vt100::Color;

/// Red, green and blue.
pub type Rgb = [u8; 3];

/// Colours of what has none of its own.
const TEXT: Rgb = [0xd0, 0xd0, 0xd0];
const GROUND: Rgb = [0x10, 0x10, 0x14];
/// The sixteen colours that programs name by number; dark enough and light enough to be read on each other.
const SIXTEEN: [Rgb; 16] = [
    [0x00, 0x00, 0x00],
    [0xcd, 0x31, 0x31],
    [0x0d, 0xbc, 0x79],
    [0xe5, 0xc0, 0x10],
    [0x36, 0x8a, 0xe0],
    [0xbc, 0x3f, 0xbc],
    [0x11, 0xa8, 0xcd],
    [0xd0, 0xd0, 0xd0],
    [0x66, 0x66, 0x66],
    [0xf1, 0x4c, 0x4c],
    [0x23, 0xd1, 0x8b],
    [0xf5, 0xf5, 0x43],
    [0x5b, 0xa8, 0xf5],
    [0xd6, 0x70, 0xd6],
    [0x29, 0xb8, 0xdb],
    [0xff, 0xff, 0xff],
];

/// One place on the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// What stands there.
    pub character: char,
    /// Columns that it takes: 1, or 2, or 0 for the second one of those.
    pub width: u8,
    /// Colour of the character.
    pub fg: Color,
    /// Colour behind it.
    pub bg: Color,
    /// In bold.
    pub bold: bool,
    /// Underlined.
    pub underline: bool,
    /// With the two colours exchanged.
    pub inverse: bool,
}

impl Cell {
    const EMPTY: Self = Self {
        character: ' ',
        width: 1,
        fg: Color::Default,
        bg: Color::Default,
        bold: false,
        underline: false,
        inverse: false,
    };

    /// The colours of the character and of what is behind it.
    pub fn colours(&self) -> (Rgb, Rgb) {
        let (fg, bg) = (resolve(self.fg, TEXT), resolve(self.bg, GROUND));
        if self.inverse { (bg, fg) } else { (fg, bg) }
    }

    fn of(cell: &vt100::Cell) -> Self {
        let width = if cell.is_wide_continuation() { 0 } else { 1 + u8::from(cell.is_wide()) };
        Self {
            // Marks that are put onto a character are not kept; no text of the screens has any.
            character: cell.contents().chars().next().unwrap_or(' '),
            width,
            fg: cell.fgcolor(),
            bg: cell.bgcolor(),
            bold: cell.bold(),
            underline: cell.underline(),
            inverse: cell.inverse(),
        }
    }
}

fn resolve(colour: Color, default: Rgb) -> Rgb {
    match colour {
        Color::Default => default,
        Color::Rgb(red, green, blue) => [red, green, blue],
        Color::Idx(number) => match number {
            0..=15 => SIXTEEN[usize::from(number)],
            // A cube of six by six by six, then shades of grey.
            16..=231 => {
                let at = number - 16;
                [at / 36, at / 6 % 6, at % 6].map(|level| if level == 0 { 0 } else { 55 + 40 * level })
            }
            232..=255 => [8 + 10 * (number - 232); 3],
        },
    }
}

/// A whole screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Columns.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
    /// Line by line.
    cells: Vec<Cell>,
    /// Column and line of the cursor, when it is seen.
    pub cursor: Option<(u16, u16)>,
}

impl Frame {
    /// An empty one.
    pub fn empty(columns: u16, rows: u16) -> Self {
        Self { columns, rows, cells: vec![Cell::EMPTY; usize::from(columns) * usize::from(rows)], cursor: None }
    }

    /// What a terminal has now.
    pub fn of(screen: &vt100::Screen) -> Self {
        let (rows, columns) = screen.size();
        let mut frame = Self::empty(columns.get(), rows.get());
        for (place, cell) in frame.cells.iter_mut().enumerate() {
            let (row, column) = (place / usize::from(columns.get()), place % usize::from(columns.get()));
            // Both come from numbers of 16 bits.
            let at = u16::try_from(row).ok().zip(u16::try_from(column).ok());
            if let Some(found) = at.and_then(|(row, column)| screen.cell(row, column)) {
                *cell = Cell::of(found);
            }
        }
        let (row, column) = screen.cursor_position();
        frame.cursor = (!screen.hide_cursor()).then(|| (column.min(columns.get() - 1), row));
        frame
    }

    /// The cells of a line; none, where there is no such line.
    pub fn row(&self, row: u16) -> &[Cell] {
        let begin = usize::from(row) * usize::from(self.columns);
        self.cells.get(begin..begin + usize::from(self.columns)).unwrap_or_default()
    }

    /// Lines that are not as in `before`.
    pub fn changed<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = u16> + 'a {
        (0..self.rows).filter(|row| self.columns != before.columns || self.row(*row) != before.row(*row))
    }

    /// The text of a line.
    pub fn text(&self, row: u16) -> String {
        self.row(row).iter().filter(|cell| cell.width > 0).map(|cell| cell.character).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;

    use super::*;

    fn frame(bytes: &str) -> Frame {
        let mut parser = vt100::Parser::new(NonZero::new(3).unwrap(), NonZero::new(10).unwrap(), 0);
        parser.process(bytes.as_bytes());
        Frame::of(parser.screen())
    }

    #[test]
    fn a_screen_is_cells_with_their_widths_and_colours() {
        let seen = frame("ab\u{1b}[31m中\u{1b}[0;7mx\u{1b}[0m\r\n\u{1b}[38;5;196my\u{1b}[48;2;1;2;3mz\u{1b}[?25l");
        let first: Vec<(char, u8)> = seen.row(0)[..5].iter().map(|cell| (cell.character, cell.width)).collect();
        assert_eq!(first, [('a', 1), ('b', 1), ('中', 2), (' ', 0), ('x', 1)]);
        assert_eq!(seen.row(0)[2].colours().0, SIXTEEN[1]);
        assert_eq!(seen.row(0)[4].colours(), (GROUND, TEXT));
        assert_eq!(seen.row(1)[0].colours().0, [0xff, 0, 0]);
        assert_eq!(seen.row(1)[1].colours().1, [1, 2, 3]);
        assert_eq!((seen.cursor, seen.text(0).trim_end()), (None, "ab中x"));
    }

    #[test]
    fn only_lines_that_changed_are_told() {
        let (one, other) = (frame("a\r\nb\r\nc"), frame("a\r\nB\r\nc"));
        assert_eq!(other.changed(&one).collect::<Vec<_>>(), [1]);
        assert_eq!(one.changed(&Frame::empty(10, 2)).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(one.changed(&Frame::empty(9, 3)).count(), 3, "of another size, everything");
        assert_eq!(one.cursor, Some((1, 2)));
    }
}
