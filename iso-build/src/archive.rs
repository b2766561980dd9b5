//! The two archive formats of the guest: `newc` cpio, which the kernel unpacks as its first file system, and `ustar`,
//! which GRUB reads as if it were one. Both are written without times or owners, so equal input gives equal bytes.

/// Mode of a regular file that may be run.
pub(crate) const PROGRAM: u32 = 0o100_755;
/// Mode of a regular file.
pub(crate) const FILE: u32 = 0o100_644;
/// Mode of a symbolic link; its content is what it points to.
pub(crate) const LINK: u32 = 0o120_777;
/// Mode of a folder.
pub(crate) const FOLDER: u32 = 0o040_755;

/// Builds a `newc` archive.
#[derive(Debug, Default)]
pub(crate) struct Cpio {
    bytes: Vec<u8>,
    entries: u32,
}

impl Cpio {
    /// Adds one entry; folders come before what is in them.
    pub(crate) fn add(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let (inode, links) = (self.entries, if mode == FOLDER { 2 } else { 1 });
        let fields = [inode, mode, 0, 0, links, 0, size(content), 0, 0, 0, 0, size(path.as_bytes()) + 1, 0]
            .map(|field| format!("{field:08x}"));
        self.bytes.extend_from_slice(b"070701");
        self.bytes.extend_from_slice(fields.concat().as_bytes());
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        pad(&mut self.bytes, 4);
        self.bytes.extend_from_slice(content);
        pad(&mut self.bytes, 4);
    }

    /// The archive with its trailer.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, b"");
        pad(&mut self.bytes, 512);
        self.bytes
    }
}

/// A `ustar` archive of regular files with short names.
pub(crate) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, content) in files {
        let mut header = [0_u8; 512];
        put(&mut header, 0, name.as_bytes());
        put(&mut header, 100, b"0000644\0");
        put(&mut header, 108, b"0000000\0");
        put(&mut header, 116, b"0000000\0");
        put(&mut header, 124, format!("{:011o}\0", content.len()).as_bytes());
        put(&mut header, 136, b"00000000000\0");
        // The checksum counts its own field as spaces.
        put(&mut header, 148, b"        ");
        header[156] = b'0';
        put(&mut header, 257, b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        put(&mut header, 148, format!("{sum:06o}\0 ").as_bytes());
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(content);
        pad(&mut bytes, 512);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn put(header: &mut [u8; 512], at: usize, field: &[u8]) {
    header[at..at + field.len()].copy_from_slice(field);
}

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

fn size(content: &[u8]) -> u32 {
    // The disk's own limit is checked long before four gigabytes.
    u32::try_from(content.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::{io::Write, process::Command, process::Stdio};

    use super::*;

    /// The system's own `tar` must read what we write.
    #[test]
    fn tar_reads_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("a.tar");
        std::fs::write(&archive, tar(&[("one", b"first"), ("two", &[7; 1000])])).unwrap();
        let done = Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(folder.path()).status().unwrap();
        assert!(done.success());
        assert_eq!(std::fs::read(folder.path().join("one")).unwrap(), b"first");
        assert_eq!(std::fs::read(folder.path().join("two")).unwrap(), [7; 1000]);
    }

    #[test]
    fn cpio_headers_are_as_the_kernel_wants_them() {
        let mut cpio = Cpio::default();
        cpio.add("etc", FOLDER, b"");
        cpio.add("etc/x", PROGRAM, b"hello");
        let bytes = cpio.finish();
        assert_eq!(bytes.len() % 512, 0);
        assert_eq!(&bytes[..14], b"07070100000001");
        // Second entry: 110 bytes of header, name, both padded to four.
        let second = (110 + 4_usize).next_multiple_of(4);
        assert_eq!(&bytes[second + 14..second + 22], b"000081ed", "mode 0100755");
        assert_eq!(&bytes[second + 54..second + 62], b"00000005", "size");
        assert_eq!(&bytes[second + 110..second + 116], b"etc/x\0");
        assert!(bytes.windows(10).any(|window| window == b"TRAILER!!!"));
        if Command::new("cpio").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok() {
            let mut list = Command::new("cpio")
                .arg("-t")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            list.stdin.take().unwrap().write_all(&bytes).unwrap();
            assert_eq!(list.wait_with_output().unwrap().stdout, b"etc\netc/x\n");
        }
    }
}
