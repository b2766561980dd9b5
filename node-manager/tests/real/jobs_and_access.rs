//! Who may call what, and that a job is done once.

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use node_manager_client::{Client, ClientError, Pool};
use node_manager_types::{
    ByteSize, ErrorKind, HostId, JobId, JobRequest, JobState, MANAGEMENT_NAME, Operation, VolumeId, host_name,
    image::Access,
    operation::{CheckInterfaces, CreateVolume, DeleteVolume},
    storage::ContentQuery,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::{AgentProcess, Authority, World, content, eventually, isolated};

fn check() -> CheckInterfaces {
    CheckInterfaces { names: vec!["lo".to_owned(), "none0".to_owned()] }
}

async fn try_once(client: &Client) -> Result<Vec<String>, ClientError> {
    client.run(JobId::random(), check(), Duration::from_secs(2)).await
}

#[test]
fn only_the_internal_authority_gets_in_and_hosts_only_carry_images() {
    isolated(|| async {
        let world = World::new();
        let agent = world.agent().await;
        let root = world.root(&agent, "bs").await;
        std::fs::write(Path::new(&root.path).join("image"), "0123456789").unwrap();
        let query = content(&root, &format!("{}/image", root.path));
        assert_eq!(try_once(&agent.client).await.unwrap(), ["none0"]);

        let stranger = Authority::new();
        let mut forged = stranger.issue(MANAGEMENT_NAME);
        forged.ca_pem = world.authority.issue(MANAGEMENT_NAME).ca_pem;
        let refused = try_once(&Client::new(agent.address, agent.id, &forged).unwrap()).await.unwrap_err();
        assert!(matches!(refused, ClientError::Unreachable(_)), "a forged certificate: {refused}");

        let peer = HostId::random();
        let other = Pool::new(&world.authority.issue(&host_name(peer))).unwrap().host(agent.id, agent.address);
        for refused in [
            try_once(&other).await.map(drop).unwrap_err(),
            other.ping().await.map(drop).unwrap_err(),
            other.metrics().await.map(drop).unwrap_err(),
        ] {
            assert!(matches!(&refused, ClientError::Agent(e) if e.message.contains("may not use")), "{refused}");
        }
        // Images are carried when management has announced them, by whom it named, and for so long.
        let refused = other.get_content(&query, 0).await.map(drop).unwrap_err();
        assert!(refused.to_string().contains("has not announced"), "{refused}");
        let part = format!("{}.part", query.path);
        let write = ContentQuery { path: part.clone(), ..query.clone() };
        agent.allow(peer, &root, &query.path, Access::Read, 600).await;
        let refused = other.put_content(&write, "junk").await.unwrap_err();
        assert!(refused.to_string().contains("has not announced"), "{refused}");
        assert!(!Path::new(&part).exists());
        let (size, stream) = other.get_content(&query, 4).await.unwrap();
        let bytes: Vec<_> = futures::TryStreamExt::try_collect(stream).await.unwrap();
        assert_eq!((size, bytes.concat()), (10, b"456789".to_vec()));
        agent.allow(peer, &root, &query.path, Access::Read, 0).await;
        assert!(other.get_content(&query, 0).await.is_err(), "taken back: a removed host's certificate opens nothing");

        let unknown =
            Pool::new(&world.authority.issue("printer.zstack.internal")).unwrap().host(agent.id, agent.address);
        let refused = unknown.get_content(&query, 0).await.map(drop).unwrap_err();
        assert!(matches!(&refused, ClientError::Agent(e) if e.message.contains("may not use")), "{refused}");

        // The client, too, insists on whom it meets.
        let refused = try_once(&world.pool.host(HostId::random(), agent.address)).await.unwrap_err();
        assert!(matches!(&refused, ClientError::Unreachable(text) if text.contains("certificate")), "{refused}");

        assert!(no_certificate(&agent, &world).await, "a client without a certificate was served");
        let mut plain = tokio::net::TcpStream::connect(agent.address).await.unwrap();
        plain.write_all(b"GET /v1/ping HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let _ = plain.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP"), "plain HTTP was answered");
    });
}

/// True when a handshake without a client certificate brings no HTTP answer.
async fn no_certificate(agent: &AgentProcess, world: &World) -> bool {
    let material = world.authority.issue(MANAGEMENT_NAME);
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(
        rustls::ClientConfig::builder().with_root_certificates(material.roots().unwrap()).with_no_client_auth(),
    ));
    let name = host_name(agent.id);
    let stream = tokio::net::TcpStream::connect(agent.address).await.unwrap();
    let Ok(mut stream) = connector.connect(name.try_into().unwrap(), stream).await else { return true };
    let _ = stream.write_all(b"GET /v1/ping HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    answer.is_empty()
}

#[test]
fn a_job_is_done_once_whoever_asks_again() {
    isolated(|| async {
        let world = World::new();
        let agent = world.agent().await;
        let root = world.root(&agent, "ps").await;
        let path = format!("{}/a.qcow2", root.path);
        let create = CreateVolume {
            root: root.clone(),
            volume: VolumeId::random(),
            path: path.clone(),
            size: ByteSize::mib(1),
            backing: None,
        };
        let job = JobId::random();
        let first = agent.client.run(job, create.clone(), Duration::from_secs(30)).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        let second = agent.client.run(job, create.clone(), Duration::from_secs(30)).await.unwrap();
        assert_eq!(first, second);
        assert!(!Path::new(&path).exists(), "the second request only reported the first");

        let other = DeleteVolume { root, path };
        let error = agent.client.run(job, other, Duration::from_secs(30)).await.unwrap_err();
        assert_eq!(error.kind(), Some(ErrorKind::Conflict), "{error}");

        let zero = JobRequest { operation: Operation::from(check()), deadline_seconds: 0 };
        assert_eq!(serde_json::to_value(&zero).unwrap()["operation"]["do"], "check_interfaces");
        let facts = agent.client.metrics().await.unwrap();
        assert!(facts.contains("zstack_host_memory_bytes ") && facts.contains("zstack_hypervisor_up 0"), "{facts}");
        assert_eq!(
            agent.client.ping().await.unwrap_err().kind(),
            Some(ErrorKind::Hypervisor),
            "no libvirtd here (CS-HOST-041)"
        );
    });
}

/// A server that accepts, promises much, and sends nothing.
async fn silent_server() -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            // An answer before the question would be refused.
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").await;
            held.push(stream);
        }
    });
    (address, task)
}

fn slow(
    agent_root: &node_manager_types::storage::StorageRoot,
    server: SocketAddr,
) -> node_manager_types::operation::AddImage {
    node_manager_types::operation::AddImage {
        root: agent_root.clone(),
        image: node_manager_types::ImageId::random(),
        source: node_manager_types::image::ImageSource::Http { url: format!("http://{server}/a") },
        format: None,
        path: format!("{}/slow", agent_root.path),
    }
}

#[test]
fn jobs_end_at_their_deadline_or_when_cancelled_and_free_their_key() {
    isolated(|| async {
        let world = World::new();
        let agent: AgentProcess = world.agent_of(HostId::random(), &["--image-stall-seconds=600"]).await;
        let root = world.root(&agent, "bs").await;
        let (server, task) = silent_server().await;

        let started = Instant::now();
        let error = agent.client.run(JobId::random(), slow(&root, server), Duration::from_secs(2)).await.unwrap_err();
        assert!(matches!(error, ClientError::Timeout { .. }) || error.kind() == Some(ErrorKind::Timeout), "{error}");
        assert!(started.elapsed() < Duration::from_secs(20));

        let job = JobId::random();
        let client = agent.client.clone();
        let operation = slow(&root, server);
        let running = tokio::spawn(async move { client.run(job, operation, Duration::from_secs(300)).await });
        eventually(Duration::from_secs(20), || async {
            // A job is unknown until its request has arrived.
            match agent.client.cancel(job).await {
                Ok(status) if matches!(status.state, JobState::Failed { .. }) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        assert_eq!(running.await.unwrap().unwrap_err().kind(), Some(ErrorKind::Cancelled));
        // The key is free: another job on the same file begins and ends.
        agent.run(DeleteVolume { root: root.clone(), path: format!("{}/slow", root.path) }).await.unwrap();
        let scratch = Path::new(&root.path).join(".zstack-tmp").join(agent.id.to_string());
        eventually(Duration::from_secs(10), || async {
            let left = std::fs::read_dir(&scratch).map_or(0, Iterator::count);
            if left == 0 { Ok(()) } else { Err(format!("{left} files left behind")) }
        })
        .await;
        task.abort();
        agent.stop().await;
    });
}
