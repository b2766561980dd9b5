//! The protocol itself: sessions, jobs, errors, the legacy message API (PROTOCOL.md).

use reqwest::{Method, StatusCode};
use serde_json::json;
use system_tests::{Client, Cloud, World, world::Options};

#[tokio::test]
async fn login_follows_section_3() {
    let world = World::start().await.unwrap();
    let mut client = world.anonymous();
    let error = client.log_in("admin", "wrong").await.unwrap().unwrap_err();
    assert_eq!(error.code, "ID.1000");
    let same = client.log_in("nobody", "wrong").await.unwrap().unwrap_err();
    assert_eq!(same.details, error.details, "nobody learns which accounts exist");
    let session = client.log_in("admin", "password").await.unwrap().unwrap();
    assert_eq!(session["inventory"]["accountUuid"], mn_service_types::ADMIN_ACCOUNT);
    let token = client.session().unwrap().to_owned();
    let valid = client.get(&format!("/accounts/sessions/{token}/valid")).await.unwrap().unwrap();
    assert_eq!(valid["valid"], true);

    let (status, _) = client.send(Method::DELETE, &format!("/accounts/sessions/{token}"), None).await.unwrap();
    assert_eq!(status, StatusCode::OK);
    let error = client.get("/zones").await.unwrap().unwrap_err();
    assert_eq!(error.code, "ID.1001");
    assert!(error.details.contains("Session expired"));
}

#[tokio::test]
async fn requests_without_session_are_refused_as_section_3_says() {
    let world = World::start().await.unwrap();
    let (status, _) = world.anonymous().send(Method::GET, "/zones", None).await.unwrap();
    assert_eq!(status, StatusCode::BAD_REQUEST);
    // An asynchronous call is accepted first and fails in its job; nothing is made.
    let stranger = world.anonymous().with_session("00000000000040008000000000000000");
    let error = stranger.create_fails("/zones", json!({ "name": "z" })).await.unwrap();
    assert_eq!(error.code, "ID.1001");
    assert!(world.admin.query("/zones").await.unwrap().is_empty());
}

#[tokio::test]
async fn unknown_paths_jobs_and_methods_have_their_status() {
    let world = World::start().await.unwrap();
    let status = |method, path: &'static str, body| {
        let admin = world.admin.clone();
        async move { admin.send(method, path, body).await.unwrap().0 }
    };
    assert_eq!(status(Method::GET, "/no-such-thing", None).await, StatusCode::NOT_FOUND);
    assert_eq!(status(Method::GET, "/api-jobs/ffffffffffff4fffbfffffffffffffff", None).await, StatusCode::NOT_FOUND);
    assert_eq!(status(Method::PUT, "/zones/x/actions", Some(json!({ "nonsense": {} }))).await, StatusCode::BAD_REQUEST);
    assert_eq!(status(Method::GET, "/zones?limit=abc", None).await, StatusCode::BAD_REQUEST);
    assert_eq!(status(Method::PATCH, "/zones", None).await, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn the_client_chooses_the_job_uuid_once() {
    let world = World::start().await.unwrap();
    let job = mn_service_types::new_uuid();
    let create = |uuid: String, name: &'static str| {
        let admin = world.admin.clone();
        async move {
            admin
                .send_with(
                    Method::POST,
                    "/zones",
                    Some(json!({ "params": { "name": name } })),
                    &[("X-Job-UUID", &uuid)],
                )
                .await
                .unwrap()
        }
    };
    let (status, answer) = create(job.clone(), "a").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert!(answer["location"].as_str().unwrap().ends_with(&format!("/zstack/v1/api-jobs/{job}")));
    assert_eq!(answer["apiTimeout"], 1_800_000);
    world.admin.follow(&format!("/api-jobs/{job}")).await.unwrap().unwrap();
    assert_eq!(create(job, "b").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(create("short".to_owned(), "c").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(world.admin.query("/zones").await.unwrap().len(), 1);
}

#[tokio::test]
async fn results_and_sessions_survive_a_restart() {
    let world = World::start().await.unwrap();
    let job = mn_service_types::new_uuid();
    let body = Some(json!({ "params": { "name": "kept" } }));
    world.admin.send_with(Method::POST, "/zones", body, &[("X-Job-UUID", &job)]).await.unwrap();
    let path = format!("/api-jobs/{job}");
    let before = world.admin.follow(&path).await.unwrap().unwrap();
    let token = world.admin.session().unwrap().to_owned();
    let world = world.restart(Options::default()).await.unwrap();
    let old = Client::new(&format!("http://{}", world.serving.address)).with_session(&token);
    assert_eq!(old.follow(&path).await.unwrap().unwrap(), before);
    assert_eq!(old.one("/zones").await.unwrap()["name"], "kept");
}

#[tokio::test]
async fn queries_page_count_and_carry_a_schema_as_section_8_says() {
    let world = World::start().await.unwrap();
    for name in ["a", "b", "c"] {
        world.admin.create("/zones", json!({ "name": name })).await.unwrap();
    }
    let page = world
        .admin
        .get("/zones?limit=2&start=1&sort=-name&replyWithCount=true&fields=name,uuid")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(page["total"], 3);
    let names: Vec<_> = page["inventories"].as_array().unwrap().iter().map(|z| z["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["b", "a"]);
    assert!(page["inventories"][0].get("state").is_none(), "only the fields asked for");
    assert_eq!(page["schema"]["inventories[0]"], "org.zstack.header.zone.ZoneInventory");
    let count = world.admin.get("/zones?count=true").await.unwrap().unwrap();
    assert_eq!(count, json!({ "total": 3 }));
    let error = world.admin.get("/zones?q=colour=red").await.unwrap().unwrap_err();
    assert!(error.details.contains("colour"), "{error}");
}

#[tokio::test]
async fn unimplemented_apis_say_so() {
    let world = World::start().await.unwrap();
    let error = world.admin.get("/captcha/refresh?uuid=x").await.unwrap().unwrap_err();
    assert_eq!(error.code, "SYS.1014");
}

#[tokio::test]
async fn the_legacy_message_api_works_as_section_14_says() {
    let world = World::start().await.unwrap();
    let http = reqwest::Client::new();
    let base = format!("http://{}/zstack/api", world.serving.address);
    let session = json!({ "uuid": world.admin.session().unwrap() });
    let message = json!({ "org.zstack.header.zone.APICreateZoneMsg": { "name": "old", "session": session } });
    let answer: serde_json::Value =
        http.post(format!("{base}/")).json(&message).send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["state"], "Processing");
    let job = answer["uuid"].as_str().unwrap().to_owned();
    let done = system_tests::eventually(std::time::Duration::from_secs(10), || {
        let request = http.get(format!("{base}/result/{job}"));
        async move {
            let answer: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
            if answer["state"] == "Done" { Ok(answer) } else { Err(answer) }
        }
    })
    .await;
    let result: serde_json::Value = serde_json::from_str(done["result"].as_str().unwrap()).unwrap();
    let event = &result["org.zstack.header.zone.APICreateZoneEvent"];
    assert_eq!((&event["success"], &event["inventory"]["name"]), (&json!(true), &json!("old")));

    // What was refused before it became a job keeps its result as long as others do.
    let refused = json!({ "org.zstack.header.zone.APICreateZoneMsg": { "session": session } });
    let answer: serde_json::Value = http.post(&base).json(&refused).send().await.unwrap().json().await.unwrap();
    let refused = answer["uuid"].as_str().unwrap().to_owned();
    mn_service::jobs::forget_old(&world.serving.app).await.unwrap();
    let answer: serde_json::Value =
        http.get(format!("{base}/result/{refused}")).send().await.unwrap().json().await.unwrap();
    assert!(answer["result"].as_str().unwrap().contains("SYS.1007"), "{answer}");

    let query = json!({ "org.zstack.header.zone.APIQueryZoneMsg": {
        "conditions": [{ "name": "name", "op": "=", "value": "old" }], "session": session } });
    let answer: serde_json::Value = http.post(&base).json(&query).send().await.unwrap().json().await.unwrap();
    let result: serde_json::Value = serde_json::from_str(answer["result"].as_str().unwrap()).unwrap();
    assert_eq!(result["org.zstack.header.zone.APIQueryZoneReply"]["inventories"].as_array().unwrap().len(), 1);

    // A restart keeps the results of jobs, whichever way they came.
    let world = world.restart(Options::default()).await.unwrap();
    let url = format!("http://{}/zstack/api/result/{job}", world.serving.address);
    let answer: serde_json::Value = http.get(url).send().await.unwrap().json().await.unwrap();
    assert!(answer["result"].as_str().unwrap().contains("APICreateZoneEvent"), "{answer}");
}

#[tokio::test]
async fn paths_are_read_generously_section_1() {
    let world = World::start().await.unwrap();
    let zone = world.admin.create("/zones", json!({ "name": "a b" })).await.unwrap();
    let uuid = zone["uuid"].as_str().unwrap();
    // Empty segments, as the Go client sends them, and escapes.
    for path in [format!("//zones//{uuid}"), format!("/zones/{uuid}/"), format!("/%7Aones/{uuid}")] {
        assert_eq!(world.admin.one(&path).await.unwrap(), zone, "{path}");
    }
    assert_eq!(world.admin.query("/zones?q=name=a%20b").await.unwrap().len(), 1);
    assert_eq!(world.admin.query("/zones?q=name=a+b").await.unwrap().len(), 1);
    assert_eq!(world.admin.query("/zones?sort=+name&unknown=parameter").await.unwrap().len(), 1);
    for bad in ["/zones/%zz", "/zones?q=name=%4", "/zones?q=name=%ff"] {
        let (status, _) = world.admin.send(Method::GET, bad, None).await.unwrap();
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}");
    }
    // HEAD is GET without the body.
    let (status, body) = world.admin.send(Method::HEAD, "/zones", None).await.unwrap();
    assert_eq!((status, body), (StatusCode::OK, json!("")));
    // A known path with a method that none of its APIs has.
    let (status, text) = world.admin.send(Method::DELETE, "/zones", None).await.unwrap();
    assert!(status == StatusCode::INTERNAL_SERVER_ERROR && text.is_string(), "{status} {text}");
    for method in [Method::OPTIONS, Method::PATCH, Method::TRACE] {
        let (status, _) = world.admin.send(method.clone(), "/zones", None).await.unwrap();
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
    }
    let job = format!("/api-jobs/{}", mn_service_types::new_uuid());
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        let (status, _) = world.admin.send(method.clone(), &job, None).await.unwrap();
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
    }
}

#[tokio::test]
async fn bodies_are_read_as_section_5_says() {
    let world = World::start().await.unwrap();
    let url = format!("http://{}/zstack/v1/zones", world.serving.address);
    let http = reqwest::Client::new();
    let raw = async |body: Vec<u8>, kind: &'static str| {
        let request = http.post(&url).header("Content-Type", kind).body(body);
        let session = format!("OAuth {}", world.admin.session().unwrap());
        let answer = request.header("Authorization", session).send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    };
    for bad in ["{", "not json", "{\"params\":{\"name\":\"z\"}} trailing", "\u{feff}{}"] {
        let (status, text) = raw(bad.into(), "application/json").await;
        assert!(status == StatusCode::BAD_REQUEST && text.contains("not JSON"), "{bad}: {status} {text}");
    }
    // Deep enough to blow a careless parser's stack.
    let (status, _) = raw("[".repeat(1_000_000).into(), "application/json").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (status, text) = raw(vec![b' '; (16 << 20) + 1], "application/json").await;
    assert!(status == StatusCode::PAYLOAD_TOO_LARGE && text.contains("bytes"), "{status} {text}");
    // JSON of another shape has no parameters; what is missing is said by the job.
    for odd in ["[]", "7", "null", "{\"params\":[]}", "{\"wrong\":{\"name\":\"z\"}}"] {
        let (status, text) = raw(odd.into(), "application/json").await;
        assert_eq!(status, StatusCode::ACCEPTED, "{odd}: {text}");
        let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
        let job = answer["location"].as_str().unwrap().split_once("/zstack/v1").unwrap().1.to_owned();
        let error = world.admin.follow(&job).await.unwrap().unwrap_err();
        assert!(error.code == "SYS.1007" && error.details.contains("name is required"), "{odd}: {error}");
    }
    assert!(world.admin.query("/zones").await.unwrap().is_empty());
    // The content type is not looked at, unknown keys are ignored, null counts as not given, texts are trimmed.
    let body = json!({ "params": { "name": " z ", "description": null, "colour": "red", "isDefault": "TRUE" } });
    let (status, _) = raw(body.to_string().into(), "text/plain").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let zone = system_tests::eventually(std::time::Duration::from_secs(10), || async {
        world.admin.one("/zones").await.map_err(|e| e.to_string())
    })
    .await;
    assert_eq!((&zone["name"], zone.get("description"), &zone["isDefault"]), (&json!("z"), None, &json!(true)));
}

#[tokio::test]
async fn an_error_is_the_only_key_and_its_text_is_bounded_section_6_4() {
    let world = World::start().await.unwrap();
    let long = "x".repeat(200_000);
    let path = "/zones";
    let (status, answer) = world
        .admin
        .send(Method::POST, path, Some(json!({ "params": { "name": long, "resourceUuid": long } })))
        .await
        .unwrap();
    assert_eq!(status, StatusCode::ACCEPTED);
    let job = answer["location"].as_str().unwrap().split_once("/zstack/v1").unwrap().1.to_owned();
    let body = system_tests::eventually(std::time::Duration::from_secs(10), || async {
        let (status, body) = world.admin.send(Method::GET, &job, None).await.unwrap();
        if status == StatusCode::SERVICE_UNAVAILABLE { Ok(body) } else { Err(status) }
    })
    .await;
    assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["error"]);
    assert!(body["error"]["details"].as_str().unwrap().chars().count() <= 4096);
    assert_eq!(body["error"]["description"].as_str().map(str::is_empty), Some(false));
}

#[tokio::test]
async fn conditions_follow_section_8() {
    let world = World::start().await.unwrap();
    for name in ["alpha", "beta", "gamma"] {
        let body = json!({ "params": { "name": name }, "userTags": [format!("tag-{name}")] });
        world.admin.call(Method::POST, "/zones", Some(body)).await.unwrap().unwrap();
    }
    let find = async |query: &str| -> Vec<String> {
        let rows = world.admin.query(&format!("/zones?sort=name&{query}")).await.unwrap();
        rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
    };
    for (query, names) in [
        ("q=name=ALPHA", vec!["alpha"]),
        ("q=name!=alpha", vec!["beta", "gamma"]),
        ("q=name?=alpha,gamma", vec!["alpha", "gamma"]),
        ("q=name!?=alpha,gamma", vec!["beta"]),
        ("q=name~=%25a", vec!["alpha", "beta", "gamma"]),
        ("q=name!~=%25ph%25", vec!["beta", "gamma"]),
        ("q=name>alpha&q=name<gamma", vec!["beta"]),
        ("q=name>=beta&q=name<=beta&q=name<=beta", vec!["beta"]),
        ("q=description%20is%20null&q=name=beta", vec!["beta"]),
        ("q=description%20not%20null", vec![]),
        ("q=__userTag__=tag-beta", vec!["beta"]),
        ("q=__userTag__!=tag-beta", vec!["alpha", "gamma"]),
        ("limit=1&start=1", vec!["beta"]),
        ("limit=0", vec![]),
        ("groupBy=state", vec!["alpha", "beta", "gamma"]),
    ] {
        assert_eq!(find(query).await, names, "{query}");
    }
    // Given twice, the last word counts no more than the first; other parameters of a path by uuid are ignored.
    let one = world.admin.one("/zones?q=name=beta").await.unwrap();
    let path = format!("/zones/{}?q=name=alpha&fields=name", one["uuid"].as_str().unwrap());
    assert_eq!(world.admin.one(&path).await.unwrap(), one);
    // Resources that this server has none of: nothing fits, and a wrong name is said.
    assert!(world.admin.query("/vm-instances/nics?q=eip.name=x").await.unwrap().is_empty());
    let error = world.admin.get("/vm-instances/nics?q=eip.nmae=x").await.unwrap().unwrap_err();
    assert!(error.details.contains("nmae") && error.details.contains("did you mean name"), "{error}");
}

#[tokio::test]
async fn legacy_messages_that_cannot_be_read_are_answered_with_a_text_section_14() {
    let world = World::start().await.unwrap();
    let http = reqwest::Client::new();
    let base = format!("http://{}/zstack/api", world.serving.address);
    for bad in [
        "not json".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        json!({ "org.zstack.header.zone.APINoSuchMsg": {} }).to_string(),
        json!({ "a": {}, "b": {} }).to_string(),
        json!({ "org.zstack.header.zone.APICreateZoneMsg": 7 }).to_string(),
    ] {
        let answer = http.post(&base).body(bad.clone()).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{bad}");
        let text = answer.text().await.unwrap();
        assert!(!text.is_empty() && !text.starts_with('{'), "{bad}: {text}");
    }
    let unknown = http.get(format!("{base}/result/{}", mn_service_types::new_uuid())).send().await.unwrap();
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    // PUT does as POST does.
    let version = json!({ "org.zstack.header.managementnode.APIGetVersionMsg": {} });
    let answer: serde_json::Value = http.put(&base).json(&version).send().await.unwrap().json().await.unwrap();
    let result: serde_json::Value = serde_json::from_str(answer["result"].as_str().unwrap()).unwrap();
    assert_eq!(result["org.zstack.header.managementnode.APIGetVersionReply"]["success"], true, "{result}");
    // Its time is in milliseconds; a job over it ends as everywhere.
    let session = json!({ "uuid": world.admin.session().unwrap() });
    let message =
        json!({ "org.zstack.header.zone.APICreateZoneMsg": { "name": "z", "session": session, "timeout": 60_000 } });
    let answer: serde_json::Value = http.post(&base).json(&message).send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["state"], "Processing");
}

#[tokio::test]
async fn answers_tell_their_classes_on_request_section_6_3() {
    let cloud = Cloud::start(1).await.unwrap();
    let wish = [("X-JSON-Schema", "true")];
    let host = "org.zstack.kvm.KVMHostInventory";
    // What a job answers: asked for with the call, or with the poll alone.
    let path = format!("/hosts/{}/actions", cloud.hosts[0]);
    for (with_call, with_poll) in [(&wish[..], &[][..]), (&[][..], &wish[..])] {
        let body = Some(json!({ "updateHost": { "description": "d" } }));
        let (status, answer) = cloud.admin().send_with(Method::PUT, &path, body, with_call).await.unwrap();
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
        let job = answer["location"].as_str().unwrap().split_once("/zstack/v1").unwrap().1.to_owned();
        cloud.admin().follow(&job).await.unwrap().unwrap();
        let (_, answer) = cloud.admin().send_with(Method::GET, &job, None, with_poll).await.unwrap();
        assert_eq!(answer["schema"]["inventory"], host, "{answer}");
    }
    let body = Some(json!({ "params": cloud.vm_params("vm") }));
    let (_, answer) = cloud.admin().send_with(Method::POST, "/vm-instances", body, &wish).await.unwrap();
    let job = answer["location"].as_str().unwrap().split_once("/zstack/v1").unwrap().1.to_owned();
    let answer = cloud.admin().follow(&job).await.unwrap().unwrap();
    assert_eq!(answer["schema"]["inventory"], "org.zstack.header.vm.VmInstanceInventory");
    assert_eq!(answer["schema"]["inventory.vmNics[0]"], "org.zstack.header.vm.VmNicInventory", "{}", answer["schema"]);
    let (_, answer) =
        cloud.admin().send_with(Method::GET, "/hosts/capacities/cpu-memory?all=true", None, &[]).await.unwrap();
    assert!(answer.get("schema").is_none(), "nobody asked");
}
