//! Images from the world and between hosts (CS-IMG-020..035).

use std::{fs, net::SocketAddr, path::Path};

use node_manager_types::{
    AgentError, ByteSize, ErrorKind, ImageId, VolumeId,
    image::{Access, ImageFacts, ImageFormat, ImageServer, ImageSource},
    operation::{AddImage, CreateVolume, DeleteImage, FetchImage, StoreImage},
    storage::StorageRoot,
};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::{AgentProcess, World, content, isolated, run};

/// A web server whose misbehaviour the path chooses.
async fn web(files: &Path) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let files = files.to_owned();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let files = files.clone();
            tokio::spawn(async move {
                let mut request = vec![0; 4096];
                let n = stream.read(&mut request).await.unwrap_or(0);
                let text = String::from_utf8_lossy(&request[..n]).into_owned();
                let path = text.split_whitespace().nth(1).unwrap_or("/").split('?').next().unwrap_or("/").to_owned();
                let name = path.rsplit('/').next().unwrap_or_default().to_owned();
                let head =
                    |length: usize| format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
                let Ok(body) = fs::read(files.join(&name)) else {
                    let _ = stream
                        .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                        .await;
                    return;
                };
                if path.starts_with("/moved/") {
                    let answer = format!(
                        "HTTP/1.1 302 Found\r\nLocation: /{name}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    );
                    let _ = stream.write_all(answer.as_bytes()).await;
                } else if path.starts_with("/stall/") {
                    let _ = stream.write_all(head(body.len()).as_bytes()).await;
                    let _ = stream.write_all(&body[..10]).await;
                    // Held open until the client gives up.
                    let _ = stream.read(&mut request).await;
                } else if path.starts_with("/endless/") {
                    // Chunked, so that nobody knows how much comes.
                    let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
                    let mut sent = stream.write_all(head).await;
                    let chunk = [format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n"].concat();
                    while sent.is_ok() {
                        sent = stream.write_all(&chunk).await;
                    }
                } else if path.starts_with("/short/") {
                    let _ = stream.write_all(head(body.len() + 1000).as_bytes()).await;
                    let _ = stream.write_all(&body).await;
                } else {
                    let _ = stream.write_all(head(body.len()).as_bytes()).await;
                    let _ = stream.write_all(&body).await;
                }
            });
        }
    });
    address
}

fn qcow2(path: &Path) {
    let path = path.to_str().unwrap();
    run("qemu-img", &["create", "-q", "-f", "qcow2", path, "32M"]);
    run("qemu-io", &["-f", "qcow2", "-c", "write -P 0x77 0 1M", path]);
}

fn sha256(path: impl AsRef<Path>) -> String {
    hex::encode(Sha256::digest(fs::read(path).unwrap()))
}

fn mode(path: &str) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions()) & 0o777
}

async fn add(
    agent: &AgentProcess,
    root: &StorageRoot,
    name: &str,
    source: ImageSource,
    format: Option<ImageFormat>,
) -> Result<ImageFacts, AgentError> {
    agent
        .run(AddImage {
            root: root.clone(),
            image: ImageId::random(),
            source,
            format,
            path: format!("{}/{name}", root.path),
        })
        .await
}

/// Files of a root that are neither its marker nor scratch.
fn visible(root: &StorageRoot) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(&root.path).unwrap().flatten().map(|e| e.file_name().into_string().unwrap()).collect();
    names.retain(|name| !name.starts_with(".zstack"));
    names.sort();
    names
}

#[test]
fn cs_img_021_images_come_by_http_and_from_files() {
    isolated(|| async {
        let world = World::new();
        let agent = world.agent().await;
        let root = world.root(&agent, "bs").await;
        let files = world.path("files");
        fs::create_dir(&files).unwrap();
        qcow2(&files.join("good.qcow2"));
        fs::write(files.join("plain.raw"), vec![0x5a; 1 << 20]).unwrap();
        let mut iso = vec![0; 40 * 1024];
        iso[32769..32774].copy_from_slice(b"CD001");
        fs::write(files.join("cd.iso"), iso).unwrap();
        let web = web(&files).await;
        let url = |path: &str| ImageSource::Http { url: format!("http://user:secret@{web}/{path}?token=hidden") };

        let facts = add(&agent, &root, "a.qcow2", url("moved/good.qcow2"), Some(ImageFormat::Qcow2)).await.unwrap();
        assert_eq!((facts.format, facts.size), (ImageFormat::Qcow2, ByteSize::mib(32)));
        assert_eq!(facts.sha256, sha256(files.join("good.qcow2")));
        let again =
            add(&agent, &root, "a.qcow2", url("moved/good.qcow2"), None).await.expect("asked twice is asked once");
        assert_eq!(facts, again);
        let facts = add(&agent, &root, "b", url("plain.raw"), None).await.unwrap();
        assert_eq!((facts.format, facts.size), (ImageFormat::Raw, ByteSize::mib(1)));
        let file = ImageSource::File { path: files.join("cd.iso").display().to_string() };
        assert_eq!(add(&agent, &root, "c", file, Some(ImageFormat::Iso)).await.unwrap().format, ImageFormat::Iso);

        for name in ["a.qcow2", "b", "c"] {
            agent.run(DeleteImage { root: root.clone(), path: format!("{}/{name}", root.path) }).await.unwrap();
        }
        assert!(visible(&root).is_empty(), "{:?}", visible(&root));
    });
}

#[test]
fn cs_img_030_bad_sources_fail_with_a_reason_and_leave_nothing() {
    isolated(|| async {
        let world = World::new();
        let agent = world.agent().await;
        let root = world.root(&agent, "bs").await;
        let files = world.path("files");
        fs::create_dir(&files).unwrap();
        let good = files.join("good.qcow2");
        qcow2(&good);
        // A header that points its first table far behind the end of the file.
        let mut corrupt = fs::read(&good).unwrap();
        corrupt[40..48].copy_from_slice(&0x4000_0000_u64.to_be_bytes());
        fs::write(files.join("corrupt.qcow2"), corrupt).unwrap();
        run(
            "qemu-img",
            &[
                "create",
                "-q",
                "-f",
                "qcow2",
                "-b",
                "/etc/passwd",
                "-F",
                "raw",
                files.join("thief.qcow2").to_str().unwrap(),
            ],
        );
        let data = format!("data_file={},data_file_raw=on", files.join("victim").display());
        run(
            "qemu-img",
            &["create", "-q", "-f", "qcow2", "-o", &data, files.join("thief2.qcow2").to_str().unwrap(), "1M"],
        );
        fs::write(files.join("page.qcow2"), "<!doctype html><p>please log in").unwrap();
        let web = web(&files).await;
        let cases = [
            ("none.qcow2", ErrorKind::Unreachable, "404"),
            ("stall/good.qcow2", ErrorKind::Unreachable, "sent nothing more after 10 bytes"),
            ("short/good.qcow2", ErrorKind::BadImage, "promised"),
            ("corrupt.qcow2", ErrorKind::BadImage, ""),
            ("thief.qcow2", ErrorKind::BadImage, "backing file"),
            ("thief2.qcow2", ErrorKind::BadImage, "another file"),
            ("page.qcow2", ErrorKind::BadImage, "web page"),
        ];
        for (path, kind, words) in cases {
            let source = ImageSource::Http { url: format!("http://user:secret@{web}/{path}?token=hidden") };
            let error = add(&agent, &root, "a", source, None).await.unwrap_err();
            assert!(error.kind == kind && error.message.contains(words), "{path}: {:?} {error}", error.kind);
            assert!(!format!("{error:?}").contains("secret") && !format!("{error:?}").contains("hidden"), "{error:?}");
            assert!(visible(&root).is_empty(), "{path} left {:?}", visible(&root));
        }
        let nobody = ImageSource::Http { url: "http://127.0.0.1:1/a".to_owned() };
        let error = add(&agent, &root, "a", nobody, None).await.unwrap_err();
        assert!(error.kind == ErrorKind::Unreachable && error.message.contains("refused"), "{error}");
        let wrong = ImageSource::File { path: good.display().to_string() };
        let error = add(&agent, &root, "a", wrong, Some(ImageFormat::Raw)).await.unwrap_err();
        assert!(error.message.contains("as claimed"), "{error}");
        assert!(!agent.log().contains("secret") && !agent.log().contains("hidden"), "the log holds credentials");
    });
}

#[test]
fn cs_img_028_secrets_and_disks_of_others_never_become_images() {
    isolated(|| async {
        let world = World::new();
        let agent = world.agent().await;
        let (root, other) = (world.root(&agent, "bs").await, world.root(&agent, "ps").await);
        let disk = format!("{}/tenant.qcow2", other.path);
        qcow2(Path::new(&disk));
        let images = world.path("images");
        fs::create_dir(&images).unwrap();
        fs::create_dir_all(agent.home.join("data/serial")).unwrap();
        fs::write(agent.home.join("data/serial/vm.log"), vec![0; 1 << 20]).unwrap();
        for (name, target) in [
            ("key", agent.home.join("key")),
            ("log", agent.home.join("data/serial/vm.log")),
            ("disk", disk.clone().into()),
            ("shadow", "/etc/shadow".into()),
        ] {
            let link = images.join(name);
            std::os::unix::fs::symlink(&target, &link).unwrap();
            for path in [target, link] {
                let source = ImageSource::File { path: path.display().to_string() };
                let error = add(&agent, &root, "a", source, None).await.unwrap_err();
                let told = error.message.contains("is refused") && error.message.contains("copy the image");
                assert!(error.kind == ErrorKind::Invalid && told, "{}: {error}", path.display());
            }
        }
        assert!(visible(&root).is_empty(), "{:?}", visible(&root));
        // A link to an ordinary image is fine.
        let image = images.join("good.qcow2");
        qcow2(&image);
        std::os::unix::fs::symlink(&image, images.join("latest")).unwrap();
        let source = ImageSource::File { path: images.join("latest").display().to_string() };
        assert_eq!(add(&agent, &root, "a", source, None).await.unwrap().sha256, sha256(&image));
    });
}

#[test]
fn a_disk_that_fills_up_during_a_download_of_unknown_length_is_told_and_left_as_it_was() {
    isolated(|| async {
        let world = World::new();
        let agent = world.agent().await;
        let small = world.path("small");
        fs::create_dir(&small).unwrap();
        run("mount", &["-t", "tmpfs", "-o", "size=4m", "none", small.to_str().unwrap()]);
        let root = world.root(&agent, "small").await;
        let files = world.path("files");
        fs::create_dir(&files).unwrap();
        fs::write(files.join("a.raw"), vec![0x5a; 64 << 10]).unwrap();
        let web = web(&files).await;
        let free = || nix::sys::statvfs::statvfs(&small).unwrap().blocks_available();
        let before = free();
        let source = ImageSource::Http { url: format!("http://user:secret@{web}/endless/a.raw") };
        let error = add(&agent, &root, "a", source, None).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NoSpace, "{error}");
        for part in ["web:", "a.raw", "free some room"] {
            let part = part.replace("web:", &web.to_string());
            assert!(error.message.contains(&part), "{part}: {error}");
        }
        assert!(!error.message.contains("secret"), "{error}");
        assert!(visible(&root).is_empty(), "{:?}", visible(&root));
        let scratch = small.join(".zstack-tmp").join(agent.id.to_string());
        assert_eq!(fs::read_dir(scratch).map_or(0, Iterator::count), 0, "nothing is left behind");
        assert_eq!(free(), before, "the room is free again");
        run("umount", &["-l", small.to_str().unwrap()]);
    });
}

#[test]
fn cs_img_031_uploads_arrive_in_chunks() {
    isolated(|| async {
        let world = World::new();
        let agent = world.agent().await;
        let root = world.root(&agent, "bs").await;
        let source = world.path("good.qcow2");
        qcow2(&source);
        let bytes = fs::read(&source).unwrap();
        let upload = format!("{}/uploads/a", root.path);
        let mut query = content(&root, &upload);
        let half = bytes.len() / 2;
        query.offset = half as u64;
        let error = agent.client.put_content(&query, bytes[half..].to_vec()).await.unwrap_err();
        assert!(error.to_string().contains("begin with offset 0"), "{error}");
        query.offset = 0;
        assert_eq!(agent.client.put_content(&query, bytes[..half].to_vec()).await.unwrap(), half as u64);
        assert_eq!(mode(&upload), 0o600, "an upload under way is nobody else's");
        query.offset = half as u64 + 1;
        let error = agent.client.put_content(&query, bytes[half..].to_vec()).await.unwrap_err();
        assert!(error.to_string().contains("the next chunk starts there"), "{error}");
        query.offset = half as u64;
        for _ in 0..2 {
            assert_eq!(agent.client.put_content(&query, bytes[half..].to_vec()).await.unwrap(), bytes.len() as u64);
        }
        let uploaded = |size: usize| ImageSource::Uploaded { path: upload.clone(), size: ByteSize::bytes(size as u64) };
        let error = add(&agent, &root, "a.qcow2", uploaded(bytes.len() + 1), None).await.unwrap_err();
        assert!(error.kind == ErrorKind::BadImage && error.message.contains("promised"), "{error}");
        let facts = add(&agent, &root, "a.qcow2", uploaded(bytes.len()), None).await.unwrap();
        assert_eq!(facts.sha256, sha256(&source));
        assert!(!Path::new(&upload).exists());
        // A finished image is no upload and stays as it is.
        let error = agent.client.put_content(&content(&root, &facts.path), vec![0; 10]).await.unwrap_err();
        assert_eq!(error.kind(), Some(ErrorKind::Conflict), "{error}");
        assert_eq!(sha256(&facts.path), facts.sha256);
    });
}

#[test]
fn images_travel_between_hosts_and_broken_transfers_go_on() {
    isolated(|| async {
        let world = World::new();
        let (server, host) = (world.agent().await, world.agent().await);
        let (bs, ps) = (world.root(&server, "bs").await, world.root(&host, "ps").await);
        let source = world.path("good.qcow2");
        qcow2(&source);
        let image =
            add(&server, &bs, "a.qcow2", ImageSource::File { path: source.display().to_string() }, None).await.unwrap();
        let remote = |host: Option<node_manager_types::HostId>| ImageServer {
            url: format!("https://{}", server.address),
            host,
            root: bs.clone(),
        };
        let cached = format!("{}/cache/a.qcow2", ps.path);
        let fetch = |sha256: &str, path: &str| FetchImage {
            root: ps.clone(),
            image: ImageId::random(),
            server: remote(Some(server.id)),
            remote_path: image.path.clone(),
            path: path.to_owned(),
            sha256: sha256.to_owned(),
        };
        let error = host.run(fetch(&image.sha256, &cached)).await.unwrap_err();
        assert!(error.message.contains("has not announced"), "{error}");
        server.allow(host.id, &bs, &image.path, Access::Read, 600).await;
        let error = host.run(fetch(&"0".repeat(64), &cached)).await.unwrap_err();
        assert!(error.kind == ErrorKind::BadImage && error.message.contains("damaged"), "{error}");
        assert!(!Path::new(&cached).exists());

        // What an interrupted attempt left: a true beginning is gone on with.
        let bytes = fs::read(&image.path).unwrap();
        fs::write(format!("{cached}.part"), &bytes[..100_000]).unwrap();
        // Two at once do it once.
        let (first, second) =
            tokio::join!(host.run(fetch(&image.sha256, &cached)), host.run(fetch(&image.sha256, &cached)));
        assert_eq!(first.unwrap(), second.unwrap());
        assert_eq!(sha256(&cached), image.sha256);
        // Whatever the folders above allow, local users read no images.
        assert_eq!((mode(&image.path), mode(&cached)), (0o600, 0o600));
        // A false beginning is noticed, dropped, and the next attempt succeeds.
        let other = format!("{}/cache/b.qcow2", ps.path);
        fs::write(format!("{other}.part"), vec![1; 1000]).unwrap();
        assert_eq!(host.run(fetch(&image.sha256, &other)).await.unwrap_err().kind, ErrorKind::BadImage);
        host.run(fetch(&image.sha256, &other)).await.unwrap();

        let error = host
            .run(FetchImage { server: remote(None), ..fetch(&image.sha256, &format!("{}/c", ps.path)) })
            .await
            .unwrap_err();
        assert!(error.message.contains("names no host"), "{error}");
        let error = host
            .run(FetchImage {
                server: remote(Some(node_manager_types::HostId::random())),
                ..fetch(&image.sha256, &format!("{}/c", ps.path))
            })
            .await
            .unwrap_err();
        assert!(error.kind == ErrorKind::Unreachable, "{error}");

        // Back again: a volume on top of the cached image becomes a new image.
        let volume = format!("{}/v.qcow2", ps.path);
        let create = CreateVolume {
            root: ps.clone(),
            volume: VolumeId::random(),
            path: volume.clone(),
            size: ByteSize::mib(48),
            backing: Some(cached),
        };
        host.run(create).await.unwrap();
        run("qemu-io", &["-f", "qcow2", "-c", "write -P 0x78 4M 64k", &volume]);
        let stored = format!("{}/stored.qcow2", bs.path);
        let store = StoreImage {
            root: ps.clone(),
            volume_path: volume.clone(),
            image: ImageId::random(),
            server: remote(Some(server.id)),
            remote_path: stored.clone(),
        };
        let error = host.run(store.clone()).await.unwrap_err();
        assert!(error.message.contains("has not announced"), "{error}");
        server.allow(host.id, &bs, &stored, Access::Write, 600).await;
        for _ in 0..2 {
            let facts = host.run(store.clone()).await.unwrap();
            assert_eq!((facts.size, facts.path.as_str()), (ByteSize::mib(48), stored.as_str()));
            assert_eq!(sha256(&stored), facts.sha256);
        }
        // What is there already is not read again, but the sender may say all of it before it is told: more than sockets hold.
        let mut again = content(&bs, &format!("{stored}.part"));
        again.rename_to = Some(stored.clone());
        again.sha256 = Some(sha256(&stored));
        let size = server.client.put_content(&again, vec![0; 32 << 20]).await.unwrap();
        assert_eq!(size, fs::metadata(&stored).unwrap().len());
        let read = run("qemu-io", &["-f", "qcow2", "-c", "read -P 0x77 0 1M", "-c", "read -P 0x78 4M 64k", &stored]);
        assert!(!read.contains("failed"), "{read}");
        assert_eq!(visible(&bs).iter().filter(|name| name.contains("part") || name.contains("upload")).count(), 0);

        // On the image server itself the same goes without the network.
        let own = StoreImage {
            root: bs.clone(),
            volume_path: stored.clone(),
            image: ImageId::random(),
            server: remote(Some(server.id)),
            remote_path: format!("{}/own.qcow2", bs.path),
        };
        assert_eq!(server.run(own).await.unwrap().size, ByteSize::mib(48));
    });
}
