//! How every screen looks, at the smallest size and a roomy one.

use crossterm::event::KeyCode;
use zstack_tui::{
    effect::{Backup, Denied, Outcome},
    facts::{Facts, Reading},
    look::Look,
    role::Role,
    update::Event,
    words::Language,
};

use crate::console::{Console, cloudless, degraded, healthy, interfaces, planned};

/// Holds a console against the pictures of it.
#[track_caller]
fn picture(name: &str, console: &Console) {
    let both = format!("{}\n{}", console.screen(80, 24), console.screen(120, 40));
    insta::assert_snapshot!(name, both);
}

#[test]
fn os_tui_010_to_022_main_screens_of_every_role_healthy_degraded_and_at_first_boot() {
    for (role, name) in [(Role::Management, "management"), (Role::Compute, "compute"), (Role::Storage, "storage")] {
        let mut console = Console::new(role);
        for step in 0..200_u64 {
            let mut facts = healthy();
            facts.processor = Some(f64::from(u8::try_from(step % 50).unwrap()) / 50.0);
            console.facts(facts);
        }
        picture(&format!("main_{name}_healthy"), &console);
        console.facts(degraded());
        picture(&format!("main_{name}_degraded"), &console);
        let mut console = Console::new(role);
        console.app.history = Default::default();
        console.app.facts = Facts { host: "node-1".to_owned(), ..Facts::default() };
        picture(&format!("main_{name}_first_boot"), &console);
    }
}

/// OS-BOOT-001: a management node that nobody can reach says so, and what to do; with an address it shows where to go.
#[test]
fn os_boot_001_a_management_node_without_an_address_says_so() {
    let mut console = Console::new(Role::Management);
    let mut facts = healthy();
    let Reading::Seen(nics) = &mut facts.nics else { panic!("no cards") };
    nics.iter_mut().for_each(|nic| nic.addresses = vec!["fe80::1/64".to_owned(), "127.0.0.1/8".to_owned()]);
    console.facts(facts);
    let screen = console.screen(80, 24);
    assert!(screen.contains("no address yet: F2") && !screen.contains("https://"), "{screen}");
    console.facts(healthy());
    let screen = console.screen(80, 24);
    assert!(screen.contains("https://") && !screen.contains("no address"), "{screen}");
}

#[test]
fn other_terminals_get_chinese_or_ascii() {
    let mut console = Console::new(Role::Management);
    console.press(KeyCode::F(3));
    assert_eq!(console.app.language, Language::Chinese);
    picture("main_chinese", &console);
    for look in [Look::Console, Look::Plain] {
        let mut console = Console::new(Role::Management);
        console.app = zstack_tui::app::App::new(Role::Management, Language::Chinese, look);
        console.facts(healthy());
        console.press(KeyCode::F(3));
        let screen = console.screen(80, 24);
        assert!(screen.contains("NODE INFO"), "no font for Chinese:\n{screen}");
        assert!(look == Look::Console || screen.is_ascii(), "{screen}");
    }
    let mut plain = Console::new(Role::Management);
    plain.app = zstack_tui::app::App::new(Role::Management, Language::English, Look::Plain);
    plain.facts(healthy());
    picture("main_plain", &plain);
    assert!(plain.screen(79, 24).contains("80x24 is needed"));
}

#[test]
fn a_long_list_of_nics_is_scrolled_with_the_arrow_keys() {
    let mut console = Console::new(Role::Management);
    let mut facts = healthy();
    if let zstack_tui::facts::Reading::Seen(nics) = &mut facts.nics {
        *nics = (0..40).map(|at| zstack_tui::facts::NicFacts { name: format!("em{at}"), ..nics[0].clone() }).collect();
    }
    console.facts(facts);
    assert!(console.screen(80, 24).contains("em0 ") && !console.screen(80, 24).contains("em39"));
    console.press(KeyCode::End);
    assert!(console.screen(80, 24).contains("em39"), "{}", console.screen(80, 24));
}

#[test]
fn os_tui_030_to_042_the_gate_and_the_lists_behind_it() {
    let mut console = Console::new(Role::Management);
    console.press(KeyCode::F(2));
    console.text("secret");
    picture("gate", &console);
    console.press(KeyCode::Enter);
    console.outcome(Outcome::Authenticated(Err(Denied::Wrong)));
    picture("gate_wrong", &console);
    for (role, name) in [(Role::Management, "management"), (Role::Compute, "compute"), (Role::Storage, "storage")] {
        picture(&format!("configuration_{name}"), &Console::configuration(role));
    }
}

#[test]
fn windows_of_every_entry() {
    let entry = |label| Console::entry(Role::Management, label);
    picture("passwords", &entry("Change Passwords"));
    let mut console = entry("Change Passwords");
    console.press(KeyCode::Enter);
    console.press(KeyCode::Enter);
    picture("passwords_root_refused", &console);

    let mut console = entry("Change Passwords");
    console.press(KeyCode::End);
    console.press(KeyCode::Enter);
    picture("passwords_bus", &console);

    let mut console = entry("Rename NIC");
    picture("wait", &console);
    console.outcome(Outcome::Network(Ok(interfaces())));
    picture("rename", &console);

    picture("test_network", &entry("Test Network"));
    let mut console = entry("Test Network");
    console.press(KeyCode::Enter);
    let line = Some("64 bytes from 114.114.114.114: icmp_seq=1 ttl=64 time=3.1 ms".to_owned());
    console.outcome(Outcome::Progress { line, done: None });
    picture("test_network_running", &console);

    let mut console = entry("Configure Networks");
    console.outcome(Outcome::Network(Ok(interfaces())));
    picture("networks", &console);
    console.press(KeyCode::Char('a'));
    (0..3).for_each(|_| console.press(KeyCode::Down));
    console.press(KeyCode::Enter);
    picture("address", &console);
    console.press(KeyCode::Enter);
    picture("address_refused", &console);
    console.press(KeyCode::Esc);
    console.press(KeyCode::Enter);
    console.outcome(Outcome::Network(Ok(interfaces())));
    console.press(KeyCode::Char('b'));
    console.press(KeyCode::Tab);
    console.press(KeyCode::Tab);
    picture("bond", &console);

    let mut console = entry("Set Management Network");
    console.outcome(Outcome::Network(Ok(interfaces())));
    picture("management_network", &console);
    console.press(KeyCode::Down);
    console.press(KeyCode::Enter);
    console.outcome(Outcome::Planned(Ok(planned(true))));
    picture("plan", &console);
    console.press(KeyCode::Char('y'));
    console.outcome(Outcome::Progress { line: Some("[1/2] add an address".to_owned()), done: Some(500) });
    picture("change_running", &console);
    console.outcome(Outcome::Trial(90));
    console.happen(Event::Tick(31_000));
    picture("trial", &console);

    let mut console = entry("Configure Console Proxy");
    console.outcome(Outcome::ConsoleProxy(Ok((Some("192.168.1.10".to_owned()), 4900))));
    picture("console_proxy", &console);
    console.press(KeyCode::Enter);
    picture("console_proxy_ask", &console);

    picture("logs", &entry("Collect Logs"));

    let mut console = entry("Backup Database");
    let file = "/var/lib/zstack/mysql-backup/zstack-backup-db-2026-01-31_00-30-00.gz".into();
    console.outcome(Outcome::Backups(Ok(vec![Backup { file, size: 1 << 22 }])));
    picture("backups", &console);
    console.press(KeyCode::Down);
    console.press(KeyCode::Enter);
    picture("restore", &console);
    console.press(KeyCode::Esc);

    let mut console = entry("Start/Stop/Restart ZStack Service");
    picture("service", &console);
    console.press(KeyCode::Down);
    console.press(KeyCode::Enter);
    console.text("stop z");
    picture("service_stop", &console);
    console.text("stack");
    console.press(KeyCode::Enter);
    console.outcome(Outcome::Ended(Ok("The management service has stopped.".to_owned())));
    picture("success", &console);

    let mut console = entry("Reset ZStack Service");
    console.text("reset zstack");
    picture("reset", &console);
    console.press(KeyCode::Enter);
    for (line, done) in [("backing the database up", 150), ("installing the packages again", 400)] {
        console.outcome(Outcome::Progress { line: Some(line.to_owned()), done: Some(done) });
    }
    picture("reset_running", &console);
    console.outcome(Outcome::Ended(Err(
        "the repository does not have zstack-ctl=0.1.0-1; nothing was changed".to_owned()
    )));
    picture("reset_refused", &console);
    picture("reset_and_drop", &entry("Reset ZStack Service&Drop Database"));
    let mut console = Console::configuration(Role::Management);
    console.press(KeyCode::F(3));
    (0..10).for_each(|_| console.press(KeyCode::Down));
    picture("reset_and_drop_chosen_chinese", &console);
    console.press(KeyCode::Enter);
    picture("reset_and_drop_chinese", &console);

    picture("terminal", &entry("Terminal Info"));
}

#[test]
fn a_node_without_a_cloud_says_how_it_gets_into_one() {
    for (role, name) in [(Role::Compute, "compute"), (Role::Storage, "storage")] {
        let mut console = Console::new(role);
        console.facts(cloudless(None));
        picture(&format!("cloudless_{name}"), &console);
        console.facts(cloudless(Some(("192.0.2.1", None))));
        console.shows("asking 192.0.2.1");
        console
            .facts(cloudless(Some(("192.0.2.1", Some("code ABCD-... is used up: 1 of 1 nodes have joined with it")))));
        console.shows("192.0.2.1: no success");
    }
    let mut console = Console::new(Role::Compute);
    console.facts(cloudless(Some(("192.0.2.1", Some("code ABCD-... is used up: 1 of 1 nodes have joined with it")))));
    picture("cloudless_refused", &console);

    let mut console = Console::cloudless(Role::Compute, None);
    picture("configuration_cloudless", &console);
    console.open("Join a Cloud");
    picture("join", &console);
    console.press(KeyCode::Enter);
    picture("join_refused", &console);
    console.press(KeyCode::Esc);
    console.press(KeyCode::F(3));
    console.press(KeyCode::Enter);
    picture("join_chinese", &console);
    console.press(KeyCode::Esc);
    console.press(KeyCode::F(3));
    console.press(KeyCode::Enter);
    console.text("192.0.2.1");
    console.press(KeyCode::Tab);
    console.text("abcd-efgh-jkmn-pqrs-tvwx");
    console.press(KeyCode::Enter);
    picture("join_ask", &console);
    console.press(KeyCode::Char('y'));
    let line = Some("this node is host c1 (0123456789abcdef0123456789abcdef)".to_owned());
    console.outcome(Outcome::Progress { line, done: Some(200) });
    picture("join_running", &console);
    console.outcome(Outcome::Ended(Ok("This node is host c1 of the cloud, and connected.".to_owned())));
    picture("join_done", &console);
}

#[test]
fn os_tui_125_to_127_reboot_and_power_off() {
    let mut console = Console::new(Role::Compute);
    console.press(KeyCode::F(12));
    console.press(KeyCode::Enter);
    console.outcome(Outcome::Authenticated(Ok(())));
    picture("power", &console);
    console.press(KeyCode::Enter);
    console.text("REBOOT");
    picture("reboot", &console);
}
