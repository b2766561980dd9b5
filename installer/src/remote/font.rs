//! Fonts of the Linux console (PSF, both versions), for those who see pictures: VNC viewers have no glyphs of their own.

use std::{collections::HashMap, io::Read as _, path::Path};

use flate2::read::GzDecoder;

use crate::tool::{Error, Result};

/// Fonts of Debian's console-setup and kbd, the best one first.
pub const FILES: [&str; 6] = [
    "/usr/share/consolefonts/Uni2-Terminus16.psf.gz",
    "/usr/share/consolefonts/Lat15-Terminus16.psf.gz",
    "/usr/share/consolefonts/Uni2-Fixed16.psf.gz",
    "/usr/share/consolefonts/Uni2-VGA16.psf.gz",
    "/usr/share/consolefonts/Lat15-Fixed16.psf.gz",
    "/usr/share/consolefonts/default8x16.psf.gz",
];

/// Largest font that is read; those of consoles are a hundred times smaller.
const LARGEST: u64 = 4 << 20;
/// Largest glyph, in pixels either way.
const GLYPH: u32 = 64;
/// Smallest glyph, in pixels either way: it has room for a box.
const SMALLEST: usize = 4;

/// Glyphs of one size.
#[derive(Debug, Clone)]
pub struct Font {
    /// Width of a glyph in pixels.
    pub width: usize,
    /// Height of a glyph in pixels.
    pub height: usize,
    /// Glyph after glyph; each line of one fills whole bytes, the leftmost pixel in the highest bit.
    bitmaps: Vec<u8>,
    places: HashMap<char, usize>,
}

impl Font {
    /// The first of [`FILES`] that there is.
    ///
    /// # Errors
    /// There is none, or why it cannot be used.
    pub fn find() -> Result<Self> {
        let Some(file) = FILES.into_iter().map(Path::new).find(|file| file.exists()) else {
            let text = "there is no font of the console; install the package console-setup-linux";
            return Err(Error::Wrong(text.to_owned()));
        };
        Self::read(file)
    }

    /// Reads a font, compressed or not.
    ///
    /// # Errors
    /// The system's, or what is wrong with it.
    pub fn read(file: &Path) -> Result<Self> {
        let wrong = |cause: &str| Error::Wrong(format!("{}: {cause}", file.display()));
        let bytes = std::fs::read(file).map_err(Error::file(file))?;
        let mut plain = Vec::new();
        if bytes.starts_with(&[0x1f, 0x8b]) {
            GzDecoder::new(&bytes[..]).take(LARGEST).read_to_end(&mut plain).map_err(Error::file(file))?;
        } else {
            plain = bytes;
        }
        Self::parse(&plain).map_err(wrong)
    }

    /// Reads PSF, version 1 or 2.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> std::result::Result<Self, &'static str> {
        const SHORT: &str = "this font ends early";
        let (header, count, size, height, width, table, wide) = if bytes.starts_with(&[0x36, 0x04]) {
            let [_, _, mode, size, ..] = *bytes else { return Err(SHORT) };
            let size = usize::from(size);
            (4, if mode & 1 == 0 { 256 } else { 512 }, size, size, 8, mode & 6 != 0, true)
        } else if bytes.starts_with(&[0x72, 0xb5, 0x4a, 0x86]) {
            let word = |at: usize| -> Option<u32> {
                let bytes = bytes.get(at * 4..at * 4 + 4)?;
                Some(u32::from_le_bytes(bytes.try_into().ok()?))
            };
            let words = [2, 3, 4, 5, 6, 7].map(word);
            let [Some(header), Some(flags), Some(count), Some(size), Some(height), Some(width)] = words else {
                return Err(SHORT);
            };
            if header < 32 || width == 0 || width > GLYPH || height == 0 || height > GLYPH || count > 0x1_0000 {
                return Err("this is no font of a console: its sizes are out of range");
            }
            // None is larger than the file, which is checked below.
            let size_of = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
            (size_of(header), size_of(count), size_of(size), size_of(height), size_of(width), flags & 1 != 0, false)
        } else {
            return Err("this is no font of the Linux console (PSF)");
        };
        if size != height * width.div_ceil(8) {
            return Err("the sizes in this font contradict each other");
        }
        if width < SMALLEST || height < SMALLEST {
            return Err("the glyphs of this font are too small to be read");
        }
        let end = count.checked_mul(size).and_then(|bytes| bytes.checked_add(header)).ok_or(SHORT)?;
        let bitmaps = bytes.get(header..end).ok_or(SHORT)?.to_vec();
        let rest = bytes.get(end..).unwrap_or_default();
        let places = match (table, wide) {
            (false, _) => (0..count.min(128)).filter_map(|at| Some((u8::try_from(at).ok()?.into(), at))).collect(),
            (true, true) => table_of_words(rest),
            (true, false) => table_of_texts(rest),
        };
        Ok(Self { width, height, bitmaps, places })
    }

    /// Whether it can show a character.
    pub fn has(&self, character: char) -> bool {
        self.places.contains_key(&character)
    }

    /// Whether a pixel of a character is set; `x` may lie in the second column of a wide one. What the font lacks is a box.
    pub fn pixel(&self, character: char, columns: usize, x: usize, y: usize) -> bool {
        let Some(place) = self.places.get(&character) else {
            let (right, bottom) = (self.width * columns - 2, self.height - 3);
            let inside = (1..=right).contains(&x) && (2..=bottom).contains(&y);
            return inside && (x == 1 || x == right || y == 2 || y == bottom);
        };
        if x >= self.width || y >= self.height {
            return false;
        }
        let line = self.width.div_ceil(8);
        let byte = self.bitmaps.get((place * self.height + y) * line + x / 8).copied().unwrap_or_default();
        byte & (0x80 >> (x % 8)) != 0
    }
}

/// Version 1: numbers of 16 bits; 0xFFFF ends a glyph, 0xFFFE begins sequences, which no text here has.
fn table_of_words(bytes: &[u8]) -> HashMap<char, usize> {
    let (mut places, mut glyph, mut sequence) = (HashMap::new(), 0, false);
    for pair in bytes.chunks_exact(2) {
        match u16::from_le_bytes([pair[0], pair[1]]) {
            0xffff => (glyph, sequence) = (glyph + 1, false),
            0xfffe => sequence = true,
            number if !sequence => {
                if let Some(character) = char::from_u32(number.into()) {
                    places.entry(character).or_insert(glyph);
                }
            }
            _ => {}
        }
    }
    places
}

/// Version 2: UTF-8; 0xFF ends a glyph, 0xFE begins sequences.
fn table_of_texts(bytes: &[u8]) -> HashMap<char, usize> {
    let mut places = HashMap::new();
    for (glyph, names) in bytes.split(|byte| *byte == 0xff).enumerate() {
        let single = names.split(|byte| *byte == 0xfe).next().unwrap_or_default();
        for character in String::from_utf8_lossy(single).chars() {
            places.entry(character).or_insert(glyph);
        }
    }
    places
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write as _;

    use super::*;

    /// A font of 8 by 16 in version 2: `A` is full in its upper half, a blank is empty, `─` is a line.
    pub(in crate::remote) fn font() -> Font {
        Font::parse(&second(true)).unwrap()
    }

    fn second(table: bool) -> Vec<u8> {
        let mut bytes = vec![0x72, 0xb5, 0x4a, 0x86];
        for word in [0, 32, u32::from(table), 3, 16, 16, 8_u32] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend([0; 16]);
        bytes.extend([0xff; 8].iter().chain(&[0; 8]));
        bytes.extend((0..16).map(|line| if line == 7 { 0xff } else { 0 }));
        if table {
            bytes.extend(b" \xff");
            bytes.extend("AÄ".as_bytes());
            bytes.extend(b"\xfeA\xcc\x88\xff");
            bytes.extend("─".as_bytes());
            bytes.push(0xff);
        }
        bytes
    }

    #[test]
    fn both_versions_are_read_plain_and_compressed() {
        let font = font();
        assert_eq!((font.width, font.height), (8, 16));
        assert!(font.pixel('A', 1, 0, 0) && font.pixel('Ä', 1, 7, 7) && !font.pixel('A', 1, 0, 8));
        assert!(font.pixel('─', 1, 3, 7) && !font.pixel(' ', 1, 3, 7));
        assert!(font.has('A') && !font.has('\u{308}'), "sequences are no characters");

        let mut first = vec![0x36, 0x04, 2, 4];
        first.extend([0x80, 0x01, 0, 0].repeat(256));
        for glyph in 0..256_u16 {
            first.extend((0x400 + glyph).to_le_bytes());
            first.extend([0xff, 0xff]);
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut packed = flate2::write::GzEncoder::new(file.reopen().unwrap(), flate2::Compression::fast());
        packed.write_all(&first).unwrap();
        packed.finish().unwrap();
        let font = Font::read(file.path()).unwrap();
        assert_eq!((font.width, font.height), (8, 4));
        assert!(font.pixel('\u{4ff}', 1, 0, 0) && font.pixel('\u{400}', 1, 7, 1) && !font.has('A'));
    }

    #[test]
    fn what_a_font_lacks_is_a_box_as_wide_as_it_should_be() {
        let font = font();
        let row = |y| (0..16).map(|x| if font.pixel('中', 2, x, y) { '#' } else { '.' }).collect::<String>();
        assert_eq!(
            [row(1), row(2), row(5), row(13), row(14)],
            ["................", ".##############.", ".#............#.", ".##############.", "................"]
        );
    }

    #[test]
    fn damaged_fonts_are_refused() {
        assert!(Font::parse(&second(false)).unwrap().has('\u{1}'), "without a table: by number");
        for length in [0, 3, 20, 33, 60] {
            assert!(Font::parse(&second(true)[..length]).is_err(), "{length}");
        }
        let mut huge = second(true);
        huge[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Font::parse(&huge).is_err());
        let mut flat = second(true);
        flat[24..28].copy_from_slice(&0_u32.to_le_bytes());
        assert!(Font::parse(&flat).is_err());
        assert!(Font::parse(&[0x36, 0x04, 0, 0]).is_err());
    }
}
