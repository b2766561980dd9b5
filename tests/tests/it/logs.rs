//! The logs of the whole cloud (OPS-LOG-023, OS-TUI-095).

use std::{fs, time::Duration};

use node_control::{
    Client,
    management::{CollectLogs, Collection, Kind, LOG_COLLECTIONS, PUBLICATIONS, Publish, Published},
};
use serde_json::json;
use system_tests::{Cloud, eventually};

#[tokio::test]
async fn ops_log_023_logs_of_all_hosts_come_together_and_a_silent_one_is_named() {
    let cloud = Cloud::start(3).await.unwrap();
    let client = Client::new(cloud.world().serving.app.config.control_socket());
    // One that the cloud believes to be there, and that does not answer.
    let silent = cloud.hosts[1].clone();
    cloud.sim.silent(cloud.host(1), Duration::from_secs(120));
    let begun: Collection = client.post(LOG_COLLECTIONS, &CollectLogs::default()).await.unwrap();
    let ended = eventually(Duration::from_secs(60), || async {
        let now: Collection = client.get(LOG_COLLECTIONS).await.map_err(|error| error.to_string())?;
        if now.done { Ok(now) } else { Err(format!("{now:?}")) }
    })
    .await;
    assert_eq!((&ended.id, &ended.error, ended.progress), (&begun.id, &None, 1.0));
    assert_eq!(ended.nodes.len(), 4, "{:?}", ended.nodes);
    let without: Vec<_> = ended.nodes.iter().filter(|node| node.problem.is_some()).collect();
    let [missing] = without.as_slice() else { panic!("{:?}", ended.nodes) };
    assert!(missing.name.contains(&silent[..8]), "{missing:?}");

    let folder = ended.directory.unwrap();
    let index = fs::read_to_string(folder.join("index.txt")).unwrap();
    assert!(index.contains("no logs") && index.contains(&silent[..8]), "{index}");
    for node in ended.nodes.iter().filter(|node| node.bytes.is_some()) {
        assert!(folder.join(format!("{}.tar.gz", node.name)).is_file(), "{node:?}");
        assert!(folder.join(&node.name).is_dir(), "can be browsed: {node:?}");
    }
    let newest = Publish { kind: Some(Kind::Logs), ..Publish::default() };
    let link: Published = client.post(PUBLICATIONS, &newest).await.unwrap();
    assert!(link.url.starts_with("https://"), "{}", json!(link));
}
