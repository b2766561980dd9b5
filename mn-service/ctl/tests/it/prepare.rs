//! The first start of a management node (OS-BOOT-001): its own database server, and a message bus in its place.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use private_mariadb::{Durability, MariaDb};

use crate::{World, install};

fn client(socket: &str, user: &str, password: &str, statement: &str) -> (bool, String) {
    let mut client = Command::new("mariadb");
    client.args(["--no-defaults", "--batch", "--skip-column-names", "--user", user]).arg(format!("--socket={socket}"));
    let output = client.env("MYSQL_PWD", password).arg("--execute").arg(statement).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[test]
fn a_database_server_gets_a_database_and_passwords_of_this_node() {
    let server = MariaDb::start(Durability::None).unwrap();
    let socket = server.socket().display().to_string();
    let world = World::new("works");
    let passwords = world.path("etc/passwords.toml");
    let prepare = ["prepare_node", "database", "--socket", &socket, "--passwords", passwords.to_str().unwrap()];

    // Nothing answers there: nothing but the passwords has changed, and the next attempt takes those.
    let nowhere = world.path("nowhere").display().to_string();
    let mut early = prepare;
    early[3] = &nowhere;
    let failed = world.run(&early).expect(1);
    assert!(failed.err.contains("systemctl status mariadb"), "{failed:?}");
    let first = fs::read_to_string(&passwords).unwrap();
    assert!(!fs::read_to_string(world.config()).unwrap().contains("mysql://"));

    world.run(&prepare).expect(0);
    assert_eq!(fs::read_to_string(&passwords).unwrap(), first, "passwords are made once");
    assert_eq!(fs::metadata(&passwords).unwrap().permissions().mode() & 0o777, 0o600);
    let all: toml::Table = first.parse().unwrap();
    let (root, user) = (all["database_root"].as_str().unwrap(), all["database_zstack"].as_str().unwrap());
    let config = fs::read_to_string(world.config()).unwrap();
    assert!(config.contains(&format!("mysql://zstack:{user}@localhost/zstack?socket={socket}")), "{config}");
    assert_eq!(fs::metadata(world.config()).unwrap().permissions().mode() & 0o077, 0, "it has a password");

    // The service's user can do everything with its database and nothing with others.
    let (done, _) = client(&socket, "zstack", user, "CREATE TABLE zstack.a (b INT); DROP TABLE zstack.a");
    assert!(done);
    assert!(!client(&socket, "zstack", user, "CREATE DATABASE other").0);
    assert!(!client(&socket, "zstack", "wrong", "SELECT 1").0);
    // OS-TUI-052: the administrator has a password to be changed, and root of the machine needs none.
    assert_eq!(client(&socket, "root", root, "SELECT CURRENT_USER()"), (true, "root@localhost".to_owned()));
    assert!(client(&socket, "root", "", "SELECT 1").0, "the socket knows root");

    let again = world.run(&prepare).expect(0);
    assert!(again.out.contains("nothing was changed"), "{again:?}");
    assert_eq!(fs::read_to_string(world.config()).unwrap(), config);
    // No secret in what it says.
    assert!(!again.out.contains(user) && !again.err.contains(user));
}

/// Power may fail at any moment of it, and the place may be a file system of its own.
#[test]
fn os_boot_001_a_database_server_gets_files_of_this_node() {
    let world = World::new("works");
    let folder = world.path("data");
    // What an attempt left that was cut off, and what a file system has of its own.
    for left in ["performance_schema", ".zstack-new/mysql", "lost+found"] {
        fs::create_dir_all(folder.join(left)).unwrap();
    }
    for left in ["performance_schema/old", "ibdata1"] {
        fs::write(folder.join(left), "cut").unwrap();
    }
    let place = folder.display().to_string();
    let prepare = ["prepare_node", "database-files", "--folder", &place, "--user", "root"];

    // Tables of somebody's: they stay.
    fs::create_dir(folder.join("shop")).unwrap();
    let refused = world.run(&prepare).expect(1);
    assert!(refused.err.contains("data/shop is there") && refused.err.contains("move what is in"), "{refused:?}");
    assert_eq!(fs::read(folder.join("ibdata1")).unwrap(), b"cut");
    fs::remove_dir(folder.join("shop")).unwrap();
    let mut nobody = prepare;
    nobody[5] = "nobody-there";
    assert!(world.run(&nobody).expect(1).err.contains("no user nobody-there"));

    world.run(&prepare).expect(0);
    assert!(!folder.join(".zstack-new").exists() && !folder.join("performance_schema/old").exists());
    let server = MariaDb::with_data(&folder, Durability::None).unwrap();
    let (done, databases) = client(&server.socket().display().to_string(), "root", "", "SHOW DATABASES");
    assert!(done && databases.contains("mysql") && databases.contains("performance_schema"), "{databases}");
    assert!(!databases.contains("test"), "{databases}");
    drop(server);

    let made = fs::metadata(folder.join("mysql")).unwrap().modified().unwrap();
    let again = world.run(&prepare).expect(0);
    assert!(again.out.contains("nothing was changed"), "{again:?}");
    assert_eq!(fs::metadata(folder.join("mysql")).unwrap().modified().unwrap(), made);
}

/// Whatever a first start has left goes, and nobody's bus does. `bus` has a RabbitMQ that needs it.
#[test]
fn os_boot_001_a_message_bus_whose_first_start_was_cut_off_begins_anew() {
    let world = World::new("works");
    let folder = world.path("bus");
    let place = folder.display().to_string();
    let prepare = ["prepare_node", "bus-files", "--folder", &place, "--user", "root"];
    let names = || {
        let mut names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let mut nobody = prepare;
    nobody[5] = "nobody-there";
    assert!(world.run(&nobody).expect(1).err.contains("no user nobody-there"));

    // As the package brings it, on a file system of its own.
    for brought in ["mnesia", "lost+found"] {
        fs::create_dir_all(folder.join(brought)).unwrap();
    }
    assert!(world.run(&prepare).expect(0).out.contains("may begin"));
    assert_eq!(names(), [".zstack-new", "lost+found", "mnesia"]);

    // A first start, and the power fails.
    fs::write(folder.join(".erlang.cookie"), "").unwrap();
    fs::create_dir_all(folder.join("mnesia/rabbit@localhost")).unwrap();
    fs::write(folder.join("mnesia/rabbit@localhost/names.dets"), "").unwrap();
    assert!(world.run(&prepare).expect(0).out.contains("begins anew"));
    assert_eq!(names(), [".zstack-new", "lost+found"]);
    assert!(world.run(&prepare).expect(0).out.contains("begins anew"), "the next one may be cut off as well");

    // One that has been through it, and one that others made.
    fs::write(folder.join(".erlang.cookie"), "ABCDEFGHIJKLMNOPQRST").unwrap();
    fs::create_dir_all(folder.join("mnesia/rabbit@localhost")).unwrap();
    fs::remove_file(folder.join(".zstack-new")).unwrap();
    assert!(world.run(&prepare).expect(0).out.contains("nothing was changed"));
    fs::write(folder.join(".erlang.cookie"), "").unwrap();
    assert!(world.run(&prepare).expect(0).out.contains("was empty"));
    assert_eq!(names(), ["lost+found", "mnesia"]);
    assert!(folder.join("mnesia/rabbit@localhost").exists());
}

/// RabbitMQ's own control program is slow and needs Erlang; what it is asked for is what counts here. A whole one is
/// prepared by the installed node (`cargo xtask e2e 'install-*-management'`).
#[test]
fn a_message_bus_gets_a_user_in_place_of_guest() {
    let world = World::new("works");
    let (notes, passwords) = (world.path("notes"), world.path("passwords.toml"));
    let script = format!(
        "#!/bin/sh\nnotes={}\necho \"$*\" >> $notes\n\
         case $2 in list_users) echo 'guest [administrator]';; import_definitions) cat $3 >> $notes;; esac\n",
        notes.display()
    );
    fs::write(world.path("script"), script).unwrap();
    install(&world.path("script"), &world.path("rabbitmqctl"));
    let control = world.path("rabbitmqctl").display().to_string();
    let prepare = ["prepare_node", "bus", "--control", &control, "--passwords", passwords.to_str().unwrap()];
    world.run(&prepare).expect(0);
    let all: toml::Table = fs::read_to_string(&passwords).unwrap().parse().unwrap();
    let password = all["bus_zstack"].as_str().unwrap();
    let asked = fs::read_to_string(&notes).unwrap();
    assert!(!asked.contains(password), "the password is nowhere but in the file");
    assert!(asked.contains("\"name\":\"zstack\"") && asked.contains("rabbit_password_hashing_sha256"), "{asked}");
    assert!(asked.lines().any(|line| line.ends_with("--quiet delete_user guest")), "{asked}");

    fs::write(world.path("script"), "#!/bin/sh\necho 'Error: unable to connect to node' >&2\nexit 69\n").unwrap();
    install(&world.path("script"), &world.path("rabbitmqctl"));
    let failed = world.run(&prepare).expect(1);
    assert!(failed.err.contains("unable to connect to node"), "{failed:?}");
}

/// OS-BOOT-001: the agent of the management node itself begins with a certificate that its service trusts.
#[test]
fn the_nodes_own_agent_gets_a_certificate_once() {
    let world = World::new("works");
    let (tls, data) = (world.path("tls"), world.path("data"));
    let service = system_tests::program("mn-service", &["mn-service", "node-manager"]);
    fs::write(world.config(), format!("data_dir = {:?}\n", data.display().to_string())).unwrap();
    // What a start has left that lost power.
    fs::create_dir_all(tls.join(".making")).unwrap();
    fs::write(tls.join(".making/key.pem"), "half").unwrap();
    let prepare =
        ["prepare_node", "agent", "--service", service.to_str().unwrap(), "--tls", tls.to_str().unwrap(), "--json"];
    let made = world.run(&prepare).expect(0);
    assert!(made.out.contains("\"changed\":true"), "{made:?}");
    for (name, mode) in [("host.key", 0o600), ("ca.crt", 0o644), ("host.crt", 0o644)] {
        assert_eq!(fs::metadata(tls.join(name)).unwrap().permissions().mode() & 0o777, mode, "{name}");
    }
    assert_eq!(fs::read(tls.join("ca.crt")).unwrap(), fs::read(data.join("ca/ca.pem")).unwrap());
    assert_eq!(fs::read_dir(&tls).unwrap().count(), 3, "nothing else is left");
    let mut verify = Command::new("openssl");
    let verified =
        verify.args(["verify", "-CAfile"]).args([tls.join("ca.crt"), tls.join("host.crt")]).output().unwrap();
    assert!(verified.status.success(), "{verified:?}");
    let before = fs::read(tls.join("host.crt")).unwrap();
    assert!(world.run(&prepare).expect(0).out.contains("\"changed\":false"));
    assert_eq!(fs::read(tls.join("host.crt")).unwrap(), before);
}
