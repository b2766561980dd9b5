//! What a program needs to be loaded: read from the file itself, because the libraries are only unpacked and `ldd` would
//! find those of this machine.

const MAGIC: &[u8] = b"\x7fELF\x02\x01";
const SECTION_HEADER: usize = 64;
const SECTION_DYNAMIC: u32 = 6;
const TAG_NEEDED: u64 = 1;

/// The shared libraries that a 64-bit little-endian ELF file names, in its order; none for anything else.
pub(super) fn needed(file: &[u8]) -> Vec<String> {
    if !file.starts_with(MAGIC) {
        return Vec::new();
    }
    dynamic(file).unwrap_or_default()
}

fn dynamic(file: &[u8]) -> Option<Vec<String>> {
    let sections = sections(file)?;
    let table = sections.iter().find(|section| section.kind == SECTION_DYNAMIC)?;
    let strings = sections.get(table.link)?.bytes(file)?;
    let entries = table.bytes(file)?.chunks_exact(16);
    let needed = entries.filter(|entry| number(entry, 0, 8) == Some(TAG_NEEDED));
    needed.map(|entry| text(strings, usize::try_from(number(entry, 8, 8)?).ok()?)).collect()
}

struct Section {
    kind: u32,
    offset: usize,
    size: usize,
    link: usize,
}

impl Section {
    fn bytes<'a>(&self, file: &'a [u8]) -> Option<&'a [u8]> {
        file.get(self.offset..self.offset.checked_add(self.size)?)
    }
}

fn sections(file: &[u8]) -> Option<Vec<Section>> {
    let field = |at, size| usize::try_from(number(file, at, size)?).ok();
    let (start, count) = (field(0x28, 8)?, field(0x3c, 2)?);
    (0..count)
        .map(|index| {
            let header = file.get(start.checked_add(index * SECTION_HEADER)?..)?;
            let field = |at, size| usize::try_from(number(header, at, size)?).ok();
            Some(Section {
                kind: u32::try_from(field(4, 4)?).ok()?,
                offset: field(0x18, 8)?,
                size: field(0x20, 8)?,
                link: field(0x28, 4)?,
            })
        })
        .collect()
}

fn number(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(size)?)?;
    Some(field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn text(strings: &[u8], at: usize) -> Option<String> {
    let rest = strings.get(at..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    String::from_utf8(rest[..end].to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_program_needs_the_c_library() {
        let me = std::fs::read("/proc/self/exe").unwrap();
        assert!(needed(&me).iter().any(|name| name == "libc.so.6"), "{:?}", needed(&me));
    }

    #[test]
    fn broken_and_other_files_need_nothing() {
        let me = std::fs::read("/proc/self/exe").unwrap();
        for file in [&b"#!/bin/sh\n"[..], &me[..6], &me[..0x30], &me[..me.len() / 2], b""] {
            assert_eq!(needed(file), [""; 0]);
        }
    }
}
