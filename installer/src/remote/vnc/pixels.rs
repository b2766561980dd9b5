//! Pictures as viewers want them: pixel formats and encodings (RFC 6143, 7.4 and 7.7).

use crate::remote::{
    font::Font,
    frame::{Cell, Rgb},
};

/// Number of the encoding without any (RFC 6143, 7.7.1).
pub const RAW: i32 = 0;
/// Number of Hextile (RFC 6143, 7.7.4).
pub const HEXTILE: i32 = 5;
/// Side of a tile of Hextile.
const TILE: usize = 16;

/// How a viewer wants its pixels (RFC 6143, 7.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelFormat {
    bytes: usize,
    depth: u8,
    big: bool,
    /// Largest value and lowest bit, for red, green and blue.
    channels: [(u16, u8); 3],
}

/// Why pixels cannot be had so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the viewer asks for pixels that this server does not make: choose true colour with 8, 16 or 32 bits")]
pub struct Unknown;

impl PixelFormat {
    /// What is offered: 32 bits, of which 24 are used.
    pub const OFFERED: Self = Self { bytes: 4, depth: 24, big: false, channels: [(255, 16), (255, 8), (255, 0)] };

    /// Reads one.
    ///
    /// # Errors
    /// It is of no use here.
    pub fn parse(bytes: [u8; 16]) -> Result<Self, Unknown> {
        let [bits, depth, big, true_colour, r1, r2, g1, g2, b1, b2, red, green, blue, ..] = bytes;
        let channels = [(r1, r2, red), (g1, g2, green), (b1, b2, blue)]
            .map(|(high, low, shift)| (u16::from_be_bytes([high, low]), shift));
        let fits = channels.iter().all(|(max, shift)| {
            // Values are 2 to the power of something, less one.
            max & max.wrapping_add(1) == 0 && u32::from(*shift) + (16 - max.leading_zeros()) <= u32::from(bits)
        });
        if true_colour == 0 || ![8, 16, 32].contains(&bits) || !fits {
            return Err(Unknown);
        }
        Ok(Self { bytes: usize::from(bits / 8), depth, big: big != 0, channels })
    }

    /// Writes it.
    pub fn to_bytes(self) -> [u8; 16] {
        let [(red, r), (green, g), (blue, b)] = self.channels;
        let ([r1, r2], [g1, g2], [b1, b2]) = (red.to_be_bytes(), green.to_be_bytes(), blue.to_be_bytes());
        let bits = u8::try_from(self.bytes * 8).unwrap_or(32);
        [bits, self.depth, u8::from(self.big), 1, r1, r2, g1, g2, b1, b2, r, g, b, 0, 0, 0]
    }

    /// Appends a pixel.
    pub fn put(&self, colour: Rgb, out: &mut Vec<u8>) {
        let mut value = 0_u32;
        for (level, (max, shift)) in colour.into_iter().zip(self.channels) {
            let scaled = (u32::from(level) * u32::from(max) + 127) / 255;
            value |= scaled.checked_shl(shift.into()).unwrap_or_default();
        }
        let bytes = value.to_le_bytes();
        match (self.bytes, self.big) {
            (4, false) => out.extend(bytes),
            (4, true) => out.extend(value.to_be_bytes()),
            (2, false) => out.extend([bytes[0], bytes[1]]),
            (2, true) => out.extend([bytes[1], bytes[0]]),
            _ => out.push(bytes[0]),
        }
    }
}

/// A picture of a part of one line of the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<Rgb>,
}

impl Picture {
    /// Of these cells; what stands in the second half of a wide one comes with the first.
    pub fn of(cells: &[Cell], font: &Font) -> Self {
        let (width, height) = (cells.len() * font.width, font.height);
        let mut pixels = vec![[0; 3]; width * height];
        for (place, cell) in cells.iter().enumerate() {
            let (fg, bg) = cell.colours();
            let (first, cell) = match (cell.width, place.checked_sub(1).and_then(|before| cells.get(before))) {
                (0, Some(before)) => (font.width, before),
                _ => (0, cell),
            };
            for y in 0..height {
                for x in 0..font.width {
                    let mut set = font.pixel(cell.character, usize::from(cell.width.max(1)), first + x, y);
                    // The same again, one pixel further: what is bold is wider.
                    if cell.bold && first + x > 0 {
                        set |= font.pixel(cell.character, usize::from(cell.width.max(1)), first + x - 1, y);
                    }
                    set |= cell.underline && y + 2 == height;
                    pixels[y * width + place * font.width + x] = if set { fg } else { bg };
                }
            }
        }
        Self { width, height, pixels }
    }

    /// Appends it in an encoding that is known here.
    pub fn encode(&self, encoding: i32, format: &PixelFormat, out: &mut Vec<u8>) {
        if encoding == HEXTILE {
            self.hextile(format, out);
        } else {
            self.pixels.iter().for_each(|pixel| format.put(*pixel, out));
        }
    }

    fn hextile(&self, format: &PixelFormat, out: &mut Vec<u8>) {
        for top in (0..self.height).step_by(TILE) {
            for left in (0..self.width).step_by(TILE) {
                let (width, height) = (TILE.min(self.width - left), TILE.min(self.height - top));
                let rows: Vec<&[Rgb]> = (top..top + height)
                    .map(|y| &self.pixels[y * self.width + left..y * self.width + left + width])
                    .collect();
                tile(&rows, format, out);
            }
        }
    }
}

/// Bits of the first byte of a tile.
const IS_RAW: u8 = 1;
const HAS_BACKGROUND: u8 = 2;
const HAS_FOREGROUND: u8 = 4;
const HAS_RECTANGLES: u8 = 8;
const ARE_COLOURED: u8 = 16;

/// A tile: one colour, and rectangles of others on it; or its pixels, where that is no longer.
fn tile(rows: &[&[Rgb]], format: &PixelFormat, out: &mut Vec<u8>) {
    let mut counts: Vec<(Rgb, usize)> = Vec::new();
    for pixel in rows.iter().flat_map(|row| row.iter()) {
        match counts.iter_mut().find(|(colour, _)| colour == pixel) {
            Some((_, count)) => *count += 1,
            None => counts.push((*pixel, 1)),
        }
    }
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let background = counts.first().map_or([0; 3], |(colour, _)| *colour);
    let mut runs = Vec::new();
    for (y, row) in rows.iter().enumerate() {
        let mut x = 0;
        for run in row.chunk_by(|one, next| one == next) {
            if run[0] != background {
                runs.push((run[0], x, y, run.len()));
            }
            x += run.len();
        }
    }
    let coloured = counts.len() > 2;
    let mut packed = Vec::new();
    for (colour, x, y, length) in &runs {
        if coloured {
            format.put(*colour, &mut packed);
        }
        // A tile has 16 columns and lines at most: each number has four bits.
        let number = |number: usize| u8::try_from(number & 15).unwrap_or_default();
        packed.extend([number(*x) << 4 | number(*y), number(*length - 1) << 4]);
    }
    let area: usize = rows.iter().map(|row| row.len()).sum();
    let Ok(count) = u8::try_from(runs.len()) else {
        return raw_tile(rows, format, out);
    };
    if packed.len() + 2 * format.bytes + 2 >= area * format.bytes {
        return raw_tile(rows, format, out);
    }
    let mut kind = HAS_BACKGROUND;
    if let (Some((foreground, ..)), false) = (runs.first(), coloured) {
        out.push(kind | HAS_FOREGROUND | HAS_RECTANGLES);
        format.put(background, out);
        format.put(*foreground, out);
    } else {
        if coloured {
            kind |= HAS_RECTANGLES | ARE_COLOURED;
        }
        out.push(kind);
        format.put(background, out);
    }
    if count > 0 {
        out.push(count);
        out.extend(packed);
    }
}

fn raw_tile(rows: &[&[Rgb]], format: &PixelFormat, out: &mut Vec<u8>) {
    out.push(IS_RAW);
    rows.iter().flat_map(|row| row.iter()).for_each(|pixel| format.put(*pixel, out));
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;

    use super::*;
    use crate::remote::{font::tests::font, frame::Frame};

    /// RFC 6143, 7.4: the fields of a format, in their order.
    #[test]
    fn formats_are_read_and_written() {
        let offered = [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0];
        assert_eq!(PixelFormat::OFFERED.to_bytes(), offered);
        assert_eq!(PixelFormat::parse(offered), Ok(PixelFormat::OFFERED));
        for wrong in [
            [32, 24, 0, 0, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0],
            [24, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0],
            [32, 24, 0, 1, 0, 254, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0],
            [16, 16, 0, 1, 0, 31, 0, 63, 0, 31, 12, 5, 0, 0, 0, 0],
            [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 255, 8, 0, 0, 0, 0],
        ] {
            assert_eq!(PixelFormat::parse(wrong), Err(Unknown), "{wrong:?}");
        }
    }

    #[test]
    fn colours_come_in_32_16_and_8_bits_and_both_orders() {
        let put = |bytes: [u8; 16], colour| {
            let mut out = Vec::new();
            PixelFormat::parse(bytes).unwrap().put(colour, &mut out);
            out
        };
        let red = [0xff, 0, 0x80];
        assert_eq!(put([32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0], red), [0x80, 0, 0xff, 0]);
        assert_eq!(put([32, 24, 1, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0], red), [0, 0xff, 0, 0x80]);
        // 5, 6 and 5 bits: 11111 000000 10000.
        assert_eq!(put([16, 16, 0, 1, 0, 31, 0, 63, 0, 31, 11, 5, 0, 0, 0, 0], red), [0x10, 0xf8]);
        assert_eq!(put([16, 16, 1, 1, 0, 31, 0, 63, 0, 31, 11, 5, 0, 0, 0, 0], red), [0xf8, 0x10]);
        // 2, 3 and 3 bits, blue above: 10 000 111.
        assert_eq!(put([8, 8, 0, 1, 0, 7, 0, 7, 0, 3, 0, 3, 6, 0, 0, 0], red), [0b1000_0111]);
    }

    fn cells(text: &str) -> Vec<Cell> {
        let mut parser = vt100::Parser::new(NonZero::<u16>::MIN, NonZero::new(8).unwrap(), 0);
        parser.process(text.as_bytes());
        Frame::of(parser.screen()).row(0).to_vec()
    }

    /// Draws what Hextile says, as RFC 6143, 7.7.4 tells viewers to.
    fn drawn(mut bytes: &[u8], width: usize, height: usize) -> Vec<Rgb> {
        fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
            let (first, rest) = bytes.split_at(count);
            *bytes = rest;
            first
        }
        fn pixel(bytes: &mut &[u8]) -> Rgb {
            let four = take(bytes, 4);
            [four[2], four[1], four[0]]
        }
        let mut pixels = vec![[0; 3]; width * height];
        let (mut background, mut foreground) = ([0; 3], [0; 3]);
        for top in (0..height).step_by(16) {
            for left in (0..width).step_by(16) {
                let (w, h) = (16.min(width - left), 16.min(height - top));
                let kind = take(&mut bytes, 1)[0];
                if kind & 1 != 0 {
                    for y in 0..h {
                        for x in 0..w {
                            pixels[(top + y) * width + left + x] = pixel(&mut bytes);
                        }
                    }
                    continue;
                }
                if kind & 2 != 0 {
                    background = pixel(&mut bytes);
                }
                if kind & 4 != 0 {
                    foreground = pixel(&mut bytes);
                }
                for y in 0..h {
                    pixels[(top + y) * width + left..][..w].fill(background);
                }
                let count = if kind & 8 != 0 { take(&mut bytes, 1)[0] } else { 0 };
                for _ in 0..count {
                    let colour = if kind & 16 != 0 { pixel(&mut bytes) } else { foreground };
                    let [place, size] = *take(&mut bytes, 2) else { unreachable!() };
                    let [x, y] = [place >> 4, place & 15].map(usize::from);
                    let [w, h] = [size >> 4, size & 15].map(|less| usize::from(less) + 1);
                    for line in 0..h {
                        pixels[(top + y + line) * width + left + x..][..w].fill(colour);
                    }
                }
            }
        }
        assert!(bytes.is_empty(), "{} bytes too many", bytes.len());
        pixels
    }

    #[test]
    fn hextile_is_the_same_picture_in_fewer_bytes() {
        let font = font();
        let texts = ["", "A A", "\u{1b}[31mA\u{1b}[32mA\u{1b}[44mA\u{1b}[0m─中x", "\u{1b}[7mAAAA"];
        for text in texts {
            let picture = Picture::of(&cells(text)[..7], &font);
            let (mut raw, mut hextile) = (Vec::new(), Vec::new());
            picture.encode(RAW, &PixelFormat::OFFERED, &mut raw);
            picture.encode(HEXTILE, &PixelFormat::OFFERED, &mut hextile);
            assert_eq!(raw.len(), 7 * 8 * 16 * 4);
            assert!(hextile.len() < raw.len() / 2, "{text:?}: {} of {}", hextile.len(), raw.len());
            assert_eq!(drawn(&hextile, 56, 16), picture.pixels, "{text:?}");
        }
        // Every pixel another one: the pixels themselves are shorter.
        let noise: Vec<Rgb> = (0..=255_u8).map(|number| [number, number ^ 0x55, 7]).collect();
        let picture = Picture { width: 16, height: 16, pixels: noise };
        let mut out = Vec::new();
        picture.encode(HEXTILE, &PixelFormat::OFFERED, &mut out);
        assert_eq!((out.len(), drawn(&out, 16, 16)), (1 + 1024, picture.pixels));
    }

    #[test]
    fn what_is_bold_is_wider_and_what_is_underlined_has_a_line() {
        let font = font();
        let count = |text| {
            let picture = Picture::of(&cells(text)[..2], &font);
            let (fg, _) = cells(text)[0].colours();
            picture.pixels.iter().filter(|pixel| **pixel == fg).count()
        };
        assert_eq!(count("A"), 64);
        assert_eq!(count("\u{1b}[4mA"), 64 + 8);
        let wide = Picture::of(&cells("中")[..2], &font);
        assert_eq!(wide.pixels[2 * 16 + 1..2 * 16 + 15].iter().collect::<std::collections::HashSet<_>>().len(), 1);
    }
}
