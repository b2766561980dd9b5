//! Bytes of images (CS-IMG-031).

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test like the tests themselves")]

use serde_json::json;
use system_tests::Cloud;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// More than the sockets between client and service hold.
const SIZE: usize = 32 << 20;

/// Sends all of a slice before it looks at the answer, as browsers do.
async fn send(url: &str, size: usize) -> String {
    let (authority, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let part = "--part\r\nContent-Disposition: form-data; name=\"file\"; filename=\"file.qcow2\"\r\n\r\n";
    let end = "\r\n--part--\r\n";
    let length = part.len() + SIZE + end.len();
    let head = format!(
        "POST /{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\nX-IMAGE-SIZE: {size}\r\n\
         Content-Type: multipart/form-data; boundary=part\r\nContent-Length: {length}\r\n\r\n"
    );
    let mut stream = TcpStream::connect(authority).await.unwrap();
    for bytes in [head.as_bytes(), part.as_bytes(), &vec![7; SIZE], end.as_bytes()] {
        stream.write_all(bytes).await.unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn cs_img_031_who_is_refused_while_sending_reads_why() {
    let cloud = Cloud::start(1).await.unwrap();
    let upload = json!({
        "name": "upload", "url": "upload://file.qcow2", "format": "qcow2", "platform": "Linux",
        "mediaType": "RootVolumeTemplate", "backupStorageUuids": [cloud.backup_storage],
    });
    let image = cloud.admin().create("/images", upload).await.unwrap();
    let url = image["backupStorageRefs"][0]["installPath"].as_str().unwrap().to_owned();
    let (place, _token) = url.rsplit_once('/').unwrap();
    let answer = send(&format!("{place}/{}", "0".repeat(64)), SIZE).await;
    assert!(answer.contains("there is no such upload"), "{answer}");
    let answer = send(&url, 1000).await;
    assert!(answer.contains("longer than the 1000 bytes that were announced"), "{answer}");
    // Neither did anything to the upload.
    let answer = send(&url, SIZE).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(&format!("\"received\":{SIZE}")), "{answer}");
}
