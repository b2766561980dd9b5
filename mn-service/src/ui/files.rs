//! Finding the file that a path means. Names are taken literally: what is not a plain name is no file of ours, so
//! there is nothing to traverse.

use std::{io, path::Path};

use super::INDEX;

/// Encodings that the build prepares, the smaller first.
pub(super) const PREPARED: [(&str, &str); 2] = [("br", "br"), ("gzip", "gz")];

/// What a path leads to.
pub(super) enum Found {
    /// A file of the build.
    File(File),
    /// The page that the UI starts with; its own routes are below it.
    Index(String),
    /// Nothing.
    Nothing,
}

/// A file with what its answer needs.
#[derive(Debug)]
pub(super) struct File {
    /// Its bytes, encoded.
    pub(super) bytes: Vec<u8>,
    /// `Content-Encoding`, unless the bytes are as they are.
    pub(super) encoding: Option<&'static str>,
    /// `Content-Type`.
    pub(super) kind: &'static str,
    /// True when the name changes with the content.
    pub(super) immutable: bool,
}

/// Finds the file for `path`; `accepted` are the encodings the client takes.
pub(super) async fn find(folder: &Path, path: &str, accepted: Vec<&'static str>) -> io::Result<Found> {
    let Some(names) = names(path) else { return Ok(Found::Nothing) };
    let Some((last, _)) = names.split_last() else { return index(folder).await };
    let Some((_, extension)) = last.rsplit_once('.') else { return index(folder).await };
    if names == [INDEX] {
        return index(folder).await;
    }
    let Some(kind) = kind(extension) else { return Ok(Found::Nothing) };
    let place = names.iter().fold(folder.to_owned(), |place, name| place.join(name));
    let immutable = names.first() == Some(&"assets");
    for (encoding, suffix) in PREPARED {
        if !accepted.contains(&encoding) {
            continue;
        }
        let mut encoded = place.clone().into_os_string();
        encoded.push(format!(".{suffix}"));
        if let Some(bytes) = read(Path::new(&encoded)).await? {
            return Ok(Found::File(File { bytes, encoding: Some(encoding), kind, immutable }));
        }
    }
    Ok(match read(&place).await? {
        Some(bytes) => Found::File(File { bytes, encoding: None, kind, immutable }),
        None => Found::Nothing,
    })
}

async fn index(folder: &Path) -> io::Result<Found> {
    tokio::fs::read_to_string(folder.join(INDEX)).await.map(Found::Index)
}

async fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match tokio::fs::read(path).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(None),
        Err(error) => Err(error),
    }
}

/// The names of a path, when all of them are plain: letters, digits, `-`, `_`, `.`, and no dot in front.
fn names(path: &str) -> Option<Vec<&str>> {
    let plain = |name: &&str| {
        !name.starts_with('.') && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
    names.iter().all(plain).then_some(names)
}

/// What the build makes; anything else is not for browsers.
fn kind(extension: &str) -> Option<&'static str> {
    Some(match extension {
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "json" => "application/json",
        "txt" => "text/plain; charset=utf-8",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_looked_for() {
        assert_eq!(names("/assets/a-1_b.js"), Some(vec!["assets", "a-1_b.js"]));
        assert_eq!(names("/"), Some(vec![]));
        for path in ["/../etc/passwd", "/a/../../b.js", "/.git/config", "/%2e%2e/a.js", "/a\\..\\b.js", "/a:b.js"] {
            assert_eq!(names(path), None, "{path}");
        }
    }

    #[tokio::test]
    async fn addresses_of_the_ui_lead_to_its_page_and_missing_files_to_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(INDEX), "page").unwrap();
        std::fs::create_dir(folder.path().join("assets")).unwrap();
        std::fs::write(folder.path().join("assets/a.js"), "plain").unwrap();
        std::fs::write(folder.path().join("assets/a.js.br"), "small").unwrap();
        let find = |path: &'static str, accepted| find(folder.path(), path, accepted);
        for path in ["/", "/vms", "/vms/1234", "/index.html"] {
            assert!(matches!(find(path, vec![]).await.unwrap(), Found::Index(page) if page == "page"), "{path}");
        }
        let Found::File(small) = find("/assets/a.js", vec!["br", "gzip"]).await.unwrap() else { panic!("no file") };
        assert_eq!((small.bytes.as_slice(), small.encoding, small.immutable), (&b"small"[..], Some("br"), true));
        let Found::File(plain) = find("/assets/a.js", vec!["gzip"]).await.unwrap() else { panic!("no file") };
        assert_eq!((plain.bytes.as_slice(), plain.encoding), (&b"plain"[..], None));
        for path in ["/assets/b.js", "/assets/a.js.br", "/assets/a.js/x.js", "/secret.key"] {
            assert!(matches!(find(path, vec!["br"]).await.unwrap(), Found::Nothing), "{path}");
        }
    }
}
