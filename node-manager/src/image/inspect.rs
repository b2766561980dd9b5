//! What kind of file an image is, told from its first bytes alone.
//!
//! QEMU would guess more formats and follow what their headers name: a qcow2 with a backing file or an external data
//! file, or a VMDK with extents, lets whoever provides the image read any file of the host. So only three kinds are
//! taken, and none of them may refer to another file.

use node_manager_types::{AgentError, ErrorKind, image::ImageFormat};

use crate::drivers::Result;

/// Bytes needed from the start of a file: the descriptor of an ISO 9660 volume begins at 32 KiB.
pub const HEAD: usize = 32 * 1024 + 8;

/// Determines the format and refuses what is not safe or not an image.
///
/// # Errors
/// [`ErrorKind::BadImage`], saying what is wrong and what to do.
pub fn inspect(head: &[u8], claimed: Option<ImageFormat>) -> Result<ImageFormat> {
    let bad = |text: &str| Err(AgentError::new(ErrorKind::BadImage, text));
    let has = |offset: usize, magic: &[u8]| head.get(offset..offset + magic.len()) == Some(magic);

    if head.is_empty() {
        return bad("the image is empty");
    }
    let detected = if has(0, b"QFI\xfb") {
        qcow2(head)?;
        ImageFormat::Qcow2
    } else if has(32 * 1024 + 1, b"CD001") {
        ImageFormat::Iso
    } else {
        ImageFormat::Raw
    };
    let foreign = [
        (&b"KDMV"[..], "VMDK"),
        (b"# Disk DescriptorFile", "VMDK"),
        (b"vhdxfile", "VHDX"),
        (b"conectix", "VHD"),
        (b"<<< Oracle VM VirtualBox Disk Image", "VDI"),
        (b"<<< QEMU VM Virtual Disk Image", "VDI"),
        (b"QED\0", "QED"),
        (b"\x1f\x8b", "gzip"),
        (b"\xfd7zXZ\0", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"BZh", "bzip2"),
        (b"PK\x03\x04", "zip"),
    ];
    if detected == ImageFormat::Raw
        && let Some((_, name)) = foreign.iter().find(|(magic, _)| has(0, magic))
    {
        return bad(&format!("the image is {name}; convert or unpack it to qcow2 or raw first"));
    }
    let text = String::from_utf8_lossy(&head[..head.len().min(256)]).trim_start().to_ascii_lowercase();
    if text.starts_with("<!doctype html") || text.starts_with("<html") {
        return bad("the source answered with a web page, not an image; use the address of the file itself");
    }
    match claimed {
        Some(claimed) if claimed != detected => {
            bad(&format!("the image is {}, not {} as claimed", word(detected), word(claimed)))
        }
        _ => Ok(detected),
    }
}

fn word(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Qcow2 => "qcow2",
        ImageFormat::Raw => "raw",
        ImageFormat::Iso => "an ISO",
    }
}

/// Checks a qcow2 header (docs/interop/qcow2.rst of QEMU).
fn qcow2(head: &[u8]) -> Result<()> {
    let bad = |text: &str| Err(AgentError::new(ErrorKind::BadImage, text));
    let number = |at: usize, width: usize| {
        head.get(at..at + width).map(|bytes| bytes.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte)))
    };
    let (Some(version), Some(backing), Some(crypt)) = (number(4, 4), number(8, 8), number(32, 4)) else {
        return bad("the image ends inside its qcow2 header");
    };
    if !(2..=3).contains(&version) {
        return bad(&format!("the image is qcow2 version {version}; versions 2 and 3 are known"));
    }
    if backing != 0 {
        return bad(
            "the image has a backing file, which would give its users access to files of the host; flatten it with `qemu-img convert` first",
        );
    }
    if crypt != 0 {
        return bad("the image is encrypted; decrypt it first");
    }
    if version == 3 {
        let Some(incompatible) = number(72, 8) else { return bad("the image ends inside its qcow2 header") };
        if incompatible & 1 << 2 != 0 {
            return bad(
                "the image keeps its data in another file, which would give its users access to files of the host; convert it without `data_file` first",
            );
        }
        if incompatible & 1 << 1 != 0 {
            return bad("the image is marked corrupt; repair it with `qemu-img check -r all` first");
        }
        // Bits 0 (dirty), 3 (compression type) and 4 (extended L2) are understood by every QEMU we ship.
        if incompatible & !0b1_1111 != 0 {
            return bad("the image uses qcow2 features this version does not know");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: u8, backing: u64, crypt: u8, incompatible: u8) -> Vec<u8> {
        let mut head = vec![0; HEAD];
        head[..4].copy_from_slice(b"QFI\xfb");
        head[7] = version;
        head[8..16].copy_from_slice(&backing.to_be_bytes());
        head[35] = crypt;
        head[79] = incompatible;
        head
    }

    #[test]
    fn cs_img_035_formats_are_told_by_their_magic() {
        let mut iso = vec![0; HEAD];
        iso[32 * 1024 + 1..32 * 1024 + 6].copy_from_slice(b"CD001");
        assert_eq!(inspect(&iso, None).unwrap(), ImageFormat::Iso);
        assert_eq!(inspect(&header(3, 0, 0, 0), None).unwrap(), ImageFormat::Qcow2);
        assert_eq!(inspect(&header(2, 0, 0, 0), Some(ImageFormat::Qcow2)).unwrap(), ImageFormat::Qcow2);
        assert_eq!(inspect(&[0x55; 512], None).unwrap(), ImageFormat::Raw);
        assert_eq!(inspect(b"x", None).unwrap(), ImageFormat::Raw);
    }

    #[test]
    fn what_is_unsafe_or_no_image_is_refused_with_a_way_out() {
        for (head, claimed, expected) in [
            (header(3, 512, 0, 0), None, "backing file"),
            (header(3, 0, 0, 0b100), None, "another file"),
            (header(3, 0, 0, 0b10), None, "corrupt"),
            (header(3, 0, 2, 0), None, "encrypted"),
            (header(3, 0, 0, 0b10_0000), None, "does not know"),
            (header(9, 0, 0, 0), None, "version 9"),
            (header(3, 0, 0, 0), Some(ImageFormat::Raw), "not raw as claimed"),
            (vec![0x55; 512], Some(ImageFormat::Iso), "not an ISO as claimed"),
            (b"QFI\xfb\0\0".to_vec(), None, "ends inside"),
            (b"KDMV\x01\0\0\0".to_vec(), None, "VMDK"),
            (b"\x1f\x8b\x08\0".to_vec(), None, "gzip"),
            (b"\n <!DOCTYPE HTML><html>".to_vec(), None, "web page"),
            (Vec::new(), None, "empty"),
        ] {
            let error = inspect(&head, claimed).unwrap_err();
            assert_eq!(error.kind, ErrorKind::BadImage);
            assert!(error.message.contains(expected), "{error} lacks {expected}");
        }
    }
}
