//! A viewer that is let in: what has changed goes out when it asks, keys come in.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
    time::timeout,
};

use super::{
    HANDSHAKE, Stream, VncDoor,
    message::{self, Area, Message},
    pixels::{HEXTILE, Picture, PixelFormat, RAW},
    wrong,
};
use crate::remote::{
    font::Font,
    frame::{Cell, Frame},
    keys::{Held, Key, modifier},
    stage::{Stage, Typed, Visit, left},
};

/// How long a viewer may take to read.
const SLOW: Duration = Duration::from_secs(30);
/// What comes within this time is sent together.
const TOGETHER: Duration = Duration::from_millis(20);
/// Messages that wait.
const WAITING: usize = 64;

/// Speaks with a viewer until it or the screen goes.
pub(super) async fn run(door: &VncDoor, stream: impl Stream, _visit: Visit) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let (mut frames, mut mode) = (door.stage.frames(), door.stage.mode());
    // Whether others may stay: they do, whatever the viewer would like (RFC 6143, 7.3.1).
    timeout(HANDSHAKE, reader.read_u8()).await??;
    let first = frames.borrow_and_update().clone();
    writer.write_all(&init(&first, &door.font, &door.title)).await?;
    writer.flush().await?;
    let (sender, mut messages) = mpsc::channel(WAITING);
    let mut view = View::new(&first, door.font.clone());
    let reading = async move {
        loop {
            let message = message::read(&mut reader).await?;
            if sender.send(message).await.is_err() {
                return Ok(());
            }
        }
    };
    let writing = async {
        loop {
            let due = view.is_due(&frames.borrow());
            tokio::select! {
                message = messages.recv() => match message {
                    Some(message) => view.take(message, &door.stage)?,
                    None => return Ok(()),
                },
                _ = left(&mut mode) => return Ok(()),
                () = tokio::time::sleep(TOGETHER), if due => {
                    let frame = frames.borrow_and_update().clone();
                    if let Some(update) = view.update(&frame) {
                        timeout(SLOW, async {
                            writer.write_all(&update).await?;
                            writer.flush().await
                        })
                        .await??;
                    }
                }
                changed = frames.changed(), if !due => changed.map_err(|_| wrong("it is over"))?,
            }
        }
    };
    tokio::select! {
        ended = reading => ended,
        ended = writing => ended,
    }
}

/// What a viewer is told of the screen (RFC 6143, 7.3.2).
fn init(frame: &Frame, font: &Font, title: &str) -> Vec<u8> {
    let side = |cells: u16, pixels: usize| u16::try_from(usize::from(cells) * pixels).unwrap_or(u16::MAX);
    let mut bytes = side(frame.columns, font.width).to_be_bytes().to_vec();
    bytes.extend(side(frame.rows, font.height).to_be_bytes());
    bytes.extend(PixelFormat::OFFERED.to_bytes());
    bytes.extend(u32::try_from(title.len()).unwrap_or_default().to_be_bytes());
    bytes.extend(title.as_bytes());
    bytes
}

/// What a viewer has on its screen, and what it wants.
struct View {
    font: Arc<Font>,
    format: PixelFormat,
    encoding: i32,
    columns: u16,
    rows: u16,
    /// What it was sent last, place by place.
    seen: Vec<Option<Cell>>,
    /// It waits for what changes here.
    wanted: Option<Area>,
    held: Held,
}

impl View {
    fn new(frame: &Frame, font: Arc<Font>) -> Self {
        let (columns, rows) = (frame.columns, frame.rows);
        let seen = vec![None; usize::from(columns) * usize::from(rows)];
        Self {
            font,
            format: PixelFormat::OFFERED,
            encoding: RAW,
            columns,
            rows,
            seen,
            wanted: None,
            held: Held::default(),
        }
    }

    fn take(&mut self, message: Message, stage: &Stage) -> io::Result<()> {
        match message {
            Message::Format(bytes) => {
                self.format = PixelFormat::parse(bytes).map_err(|unknown| wrong(unknown.to_string()))?;
            }
            Message::Encodings(known) => {
                self.encoding = known.into_iter().find(|one| [RAW, HEXTILE].contains(one)).unwrap_or(RAW);
            }
            Message::Request { incremental, area } => {
                if !incremental {
                    for (row, columns) in self.places(area) {
                        for column in columns {
                            let place = usize::from(row) * usize::from(self.columns) + column;
                            if let Some(seen) = self.seen.get_mut(place) {
                                *seen = None;
                            }
                        }
                    }
                }
                self.wanted = Some(match self.wanted {
                    Some(before) => both(before, area),
                    None => area,
                });
            }
            Message::Key { down, keysym } => {
                if let Some(held) = modifier(keysym, &mut self.held) {
                    *held = down;
                } else if let (true, Some(key)) = (down, Key::of_keysym(keysym, self.held)) {
                    stage.type_in(Typed::Key(key));
                }
            }
            Message::Other => {}
        }
        Ok(())
    }

    /// Lines and columns that an area touches.
    fn places(&self, area: Area) -> Vec<(u16, std::ops::Range<usize>)> {
        let (left, top) = (usize::from(area.x) / self.font.width, usize::from(area.y) / self.font.height);
        let right = (usize::from(area.x) + usize::from(area.width)).div_ceil(self.font.width);
        let bottom = (usize::from(area.y) + usize::from(area.height)).div_ceil(self.font.height);
        let columns = left..right.min(self.columns.into());
        (0..self.rows)
            .filter(|row| (top..bottom).contains(&usize::from(*row)))
            .map(|row| (row, columns.clone()))
            .collect()
    }

    /// What is to be seen on a line: the cursor is a place in reverse.
    fn row(&self, frame: &Frame, row: u16) -> Vec<Cell> {
        let mut cells = frame.row(row).to_vec();
        if let Some((column, _)) = frame.cursor.filter(|(_, line)| *line == row)
            && let Some(cell) = cells.get_mut(usize::from(column))
        {
            cell.inverse = !cell.inverse;
        }
        cells
    }

    /// Places of a line that are not as they were sent, from and to.
    fn stale(&self, cells: &[Cell], row: u16, columns: std::ops::Range<usize>) -> Vec<(usize, usize)> {
        let mut spans: Vec<(usize, usize)> = Vec::new();
        let begin = usize::from(row) * usize::from(self.columns);
        for column in columns {
            let Some(cell) = cells.get(column) else { break };
            if self.seen.get(begin + column).copied().flatten() == Some(*cell) {
                continue;
            }
            // A wide character is drawn as a whole.
            let from = if cell.width == 0 { column.saturating_sub(1) } else { column };
            let to = (column + usize::from(cell.width.max(1))).min(cells.len());
            match spans.last_mut() {
                // A few places that have not changed cost less than another rectangle.
                Some(last) if from <= last.1 + 2 => last.1 = last.1.max(to),
                _ => spans.push((from, to)),
            }
        }
        spans
    }

    fn is_due(&self, frame: &Frame) -> bool {
        // Of another size it is while somebody at the machine has it.
        let same = (frame.columns, frame.rows) == (self.columns, self.rows);
        let Some(area) = self.wanted.filter(|_| same) else { return false };
        self.places(area).into_iter().any(|(row, columns)| !self.stale(&self.row(frame, row), row, columns).is_empty())
    }

    /// A message with what has changed (RFC 6143, 7.6.1), where something is wanted and has changed.
    fn update(&mut self, frame: &Frame) -> Option<Vec<u8>> {
        if (frame.columns, frame.rows) != (self.columns, self.rows) {
            return None;
        }
        let area = self.wanted?;
        let (mut count, mut bytes) = (0_u16, Vec::new());
        for (row, columns) in self.places(area) {
            let cells = self.row(frame, row);
            for (from, to) in self.stale(&cells, row, columns) {
                let number = |cells: usize, pixels: usize| u16::try_from(cells * pixels).unwrap_or(u16::MAX);
                let (width, height) = (self.font.width, self.font.height);
                for number in
                    [number(from, width), number(row.into(), height), number(to - from, width), number(1, height)]
                {
                    bytes.extend(number.to_be_bytes());
                }
                bytes.extend(self.encoding.to_be_bytes());
                Picture::of(&cells[from..to], &self.font).encode(self.encoding, &self.format, &mut bytes);
                let begin = usize::from(row) * usize::from(self.columns);
                for (column, cell) in cells.iter().enumerate().take(to).skip(from) {
                    if let Some(seen) = self.seen.get_mut(begin + column) {
                        *seen = Some(*cell);
                    }
                }
                count += 1;
            }
        }
        if count == 0 {
            return None;
        }
        self.wanted = None;
        let mut message = vec![0, 0];
        message.extend(count.to_be_bytes());
        message.extend(bytes);
        Some(message)
    }
}

/// The smallest area that has both.
fn both(one: Area, other: Area) -> Area {
    let (x, y) = (one.x.min(other.x), one.y.min(other.y));
    let right = one.x.saturating_add(one.width).max(other.x.saturating_add(other.width));
    let bottom = one.y.saturating_add(one.height).max(other.y.saturating_add(other.height));
    Area { x, y, width: right - x, height: bottom - y }
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;

    use super::*;
    use crate::remote::{
        font::tests::font,
        stage::{Order, tests::stage},
    };

    const ALL: Area = Area { x: 0, y: 0, width: 80, height: 32 };

    fn frame(text: &str) -> Frame {
        let mut parser = vt100::Parser::new(NonZero::new(2).unwrap(), NonZero::new(10).unwrap(), 0);
        parser.process(text.as_bytes());
        Frame::of(parser.screen())
    }

    fn rectangles(update: &[u8]) -> Vec<[u16; 4]> {
        let number = |at: usize| u16::from_be_bytes([update[at], update[at + 1]]);
        let (mut at, mut found) = (4, Vec::new());
        for _ in 0..number(2) {
            let place = [0, 2, 4, 6].map(|field| number(at + field));
            assert_eq!(update[at + 8..at + 12], [0, 0, 0, 0], "raw");
            at += 12 + usize::from(place[2]) * usize::from(place[3]) * 4;
            found.push(place);
        }
        assert_eq!((update[0], at), (0, update.len()));
        found
    }

    /// RFC 6143, 7.5.3 and 7.6.1: everything at first, then what changed, and nothing that nobody waits for.
    #[test]
    fn only_what_changed_is_sent_and_only_when_asked_for() {
        let (stage, ..) = stage(frame(""));
        let (one, two) = (frame("\u{1b}[?25l"), frame("\u{1b}[?25l\r\n  A"));
        let mut view = View::new(&one, Arc::new(font()));
        assert!(!view.is_due(&one) && view.update(&one).is_none());
        view.take(Message::Request { incremental: false, area: ALL }, &stage).unwrap();
        assert_eq!(rectangles(&view.update(&one).unwrap()), [[0, 0, 80, 16], [0, 16, 80, 16]]);
        assert!(!view.is_due(&two), "it was not asked for");
        view.take(Message::Request { incremental: true, area: ALL }, &stage).unwrap();
        assert!(!view.is_due(&one) && view.is_due(&two));
        assert_eq!(rectangles(&view.update(&two).unwrap()), [[16, 16, 8, 16]]);
        view.take(Message::Request { incremental: true, area: Area { height: 16, ..ALL } }, &stage).unwrap();
        assert!(!view.is_due(&frame("\u{1b}[?25l\r\n  B")), "another line was asked for");
        view.take(Message::Request { incremental: false, area: Area { width: 8, ..ALL } }, &stage).unwrap();
        assert_eq!(rectangles(&view.update(&two).unwrap()), [[0, 0, 8, 16], [0, 16, 8, 16]]);
    }

    #[test]
    fn the_cursor_and_both_halves_of_wide_characters_are_sent() {
        let (stage, ..) = stage(frame(""));
        let mut view = View::new(&frame(""), Arc::new(font()));
        let ask = Message::Request { incremental: true, area: ALL };
        view.take(ask.clone(), &stage).unwrap();
        view.update(&frame("")).unwrap();
        view.take(ask.clone(), &stage).unwrap();
        // From the first place to the third.
        assert_eq!(rectangles(&view.update(&frame("  ")).unwrap()), [[0, 0, 24, 16]]);
        view.take(ask, &stage).unwrap();
        assert_eq!(rectangles(&view.update(&frame("\u{1b}[1;5H中\u{1b}[1;3H")).unwrap()), [[32, 0, 16, 16]]);
    }

    #[test]
    fn keys_are_typed_when_they_go_down_with_what_is_held() {
        let (stage, _shown, mut ordered) = stage(frame(""));
        let mut view = View::new(&frame(""), Arc::new(font()));
        for (down, keysym) in [(true, 0xffe3), (true, 0x6c), (false, 0x6c), (false, 0xffe3), (true, 0x6c)] {
            view.take(Message::Key { down, keysym }, &stage).unwrap();
        }
        let typed = |key| Order::Type(Typed::Key(key));
        assert_eq!(ordered.try_recv().unwrap(), typed(Key::Control('l')));
        assert_eq!(ordered.try_recv().unwrap(), typed(Key::Char('l')));
        assert!(ordered.try_recv().is_err());
        assert!(view.take(Message::Format([0; 16]), &stage).is_err());
    }
}
