//! The rules of every form, and what each entry asks the node to do.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use zstack_tui::{
    app::Screen,
    effect::{Backup, Denied, Edit, Effect, Outcome, PowerAction, ServiceAction},
    facts::Reading,
    role::{Entry, Role},
    update::{Event, Mouse},
};

use crate::console::{Console, cloudless, healthy, interfaces, planned};

/// Empties the field with the cursor and types into it.
fn fill(console: &mut Console, text: &str) {
    console.happen(Event::Key(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL)));
    console.text(text);
}

fn fill_all(console: &mut Console, texts: &[&str]) {
    for text in texts {
        fill(console, text);
        console.press(KeyCode::Tab);
    }
}

fn management(label: &str) -> Console {
    let mut console = Console::entry(Role::Management, label);
    if let Effect::LookAtNetwork = console.asked() {
        console.outcome(Outcome::Network(Ok(interfaces())));
    }
    console
}

#[test]
fn os_tui_030_032_a_wrong_password_leads_back_to_the_main_screen_and_locks_after_a_while() {
    for key in [KeyCode::F(2), KeyCode::F(12)] {
        let mut console = Console::new(Role::Management);
        for wrong in 1..=3 {
            console.press(key);
            console.text("guess");
            console.press(KeyCode::Enter);
            console.outcome(Outcome::Authenticated(Err(Denied::Wrong)));
            console.shows("Wrong password");
            assert_eq!(console.app.screen, Screen::Main);
            assert!((wrong == 3) == console.screen(100, 40).contains("Try again in 4 s"), "{wrong}");
            console.press(KeyCode::Esc);
        }
        console.effects.clear();
        console.press(key);
        console.shows("Too many wrong passwords. Try again in 4 s.");
        console.press(KeyCode::Enter);
        assert!(console.effects.is_empty(), "a locked gate takes no password");
        console.happen(Event::Tick(5_000));
        console.press(key);
        console.text("secret");
        console.press(KeyCode::Enter);
        console.outcome(Outcome::Authenticated(Ok(())));
        assert_ne!(console.app.screen, Screen::Main);
    }
}

#[test]
fn os_tui_033_leaving_the_configuration_asks_for_the_password_again_and_so_does_a_long_pause() {
    let mut console = Console::configuration(Role::Management);
    console.press(KeyCode::F(2));
    assert_eq!(console.app.screen, Screen::Main);
    console.press(KeyCode::F(2));
    console.shows("Password of root on this node");

    let mut console = Console::entry(Role::Management, "Test Network");
    console.happen(Event::Tick(1_000 + 9 * 60_000));
    assert!(matches!(console.app.screen, Screen::Configuration(_)));
    console.happen(Event::Tick(1_000 + 10 * 60_000));
    assert_eq!((console.app.screen, console.app.windows.len()), (Screen::Main, 0));
}

#[test]
fn os_tui_034_escape_closes_any_window_and_leads_to_the_configuration() {
    let mut console = management("Configure Networks");
    console.press(KeyCode::Enter);
    console.press(KeyCode::Esc);
    assert!(console.app.windows.is_empty() && matches!(console.app.screen, Screen::Configuration(_)));
    // From the password window it leads to the main screen (OS-CNF-008).
    let mut console = Console::new(Role::Management);
    console.press(KeyCode::F(2));
    console.press(KeyCode::Esc);
    assert_eq!((console.app.screen, console.app.windows.len()), (Screen::Main, 0));
}

#[test]
fn os_tui_050_to_053_the_password_of_root() {
    let mut console = management("Change Passwords");
    console.press(KeyCode::Enter);
    console.press(KeyCode::Enter);
    console.shows("is empty");
    for (typed, problem) in [
        (["old", "new", "other"], "differs from the new password"),
        (["old", "", ""], "is empty"),
        (["", "new", "new"], "is empty"),
        (["same", "same", "same"], "is the present one"),
    ] {
        let mut console = management("Change Passwords");
        console.press(KeyCode::Enter);
        fill_all(&mut console, &typed);
        console.press(KeyCode::Enter);
        console.shows(problem);
        assert!(matches!(console.asked(), Effect::Authenticate(_)), "nothing but the gate's was asked for");
    }
    fill_all(&mut console, &["old", "new pass", "new pass"]);
    console.press(KeyCode::Enter);
    console.shows("Press Y");
    console.press(KeyCode::Char('y'));
    let wanted = Effect::ChangeRootPassword { old: "old".into(), new: "new pass".into() };
    assert_eq!(*console.asked(), wanted);
    console.outcome(Outcome::Ended(Ok("The password of root was changed.".to_owned())));
    console.shows("OK");
    // Passwords are nowhere in the state any more.
    assert!(!format!("{:?}", console.app).contains("new pass"));
}

#[test]
fn os_tui_054_to_056_the_passwords_of_the_database() {
    for (downs, account) in [(1, "root"), (2, "zstack")] {
        let mut console = management("Change Passwords");
        (0..downs).for_each(|_| console.press(KeyCode::Down));
        console.press(KeyCode::Enter);
        fill_all(&mut console, &["dbroot", "new", "new"]);
        console.press(KeyCode::Enter);
        console.shows("The service is restarted");
        console.press(KeyCode::Char('Y'));
        let wanted = Effect::ChangeDatabasePassword { account, root: "dbroot".into(), new: "new".into() };
        assert_eq!(*console.asked(), wanted);
        console.outcome(Outcome::Ended(Err("Access denied for user 'root'".to_owned())));
        console.shows("ERROR");
        console.shows("Access denied");
    }
    // A database that is a file has no passwords.
    let mut console = management("Change Passwords");
    let mut facts = healthy();
    if let Reading::Seen(service) = &mut facts.service {
        service.database_server = false;
    }
    console.facts(facts);
    console.press(KeyCode::Down);
    console.press(KeyCode::Enter);
    console.shows("It has no passwords");
}

#[test]
fn os_tui_057_to_059_the_password_of_the_message_bus() {
    let opened = |message_bus| {
        let mut console = management("Change Passwords");
        console.facts(zstack_tui::facts::Facts { message_bus, ..healthy() });
        console.press(KeyCode::End);
        console.shows("> RabbitMQ password of zstack");
        console.press(KeyCode::Enter);
        console
    };
    // Messages that stay inside the service need none.
    opened(false).shows("There is no such password");
    for (typed, problem) in [
        (["root", "new", "other"], "differs from the new password"),
        (["root", "", ""], "is empty"),
        (["", "new", "new"], "is empty"),
    ] {
        let mut console = opened(true);
        console.shows("System password of root");
        fill_all(&mut console, &typed);
        console.press(KeyCode::Enter);
        console.shows(problem);
        assert!(matches!(console.asked(), Effect::Authenticate(_)), "nothing but the gate's was asked for");
    }
    let mut console = opened(true);
    fill_all(&mut console, &["root", "new", "new"]);
    console.press(KeyCode::Enter);
    console.shows("Change RabbitMQ's password of zstack");
    console.press(KeyCode::Char('y'));
    assert_eq!(*console.asked(), Effect::ChangeBusPassword { root: "root".into(), new: "new".into() });
    console.outcome(Outcome::Ended(Err("The password of root is wrong. Nothing was changed.".to_owned())));
    console.shows("ERROR The password of root is wrong");
}

#[test]
fn os_tui_060_061_names_of_cards() {
    let mut console = management("Rename NIC");
    console.press(KeyCode::Enter);
    console.shows("nothing was changed");
    for (name, problem) in [
        ("em2", "em2 is there twice"),
        ("lo", "has a meaning of its own"),
        ("much-too-long-name", "Linux takes 15 at most"),
        ("a b", "characters other than"),
        ("", "a link needs a name"),
    ] {
        fill(&mut console, name);
        console.press(KeyCode::Enter);
        console.shows(problem);
    }
    fill(&mut console, "lan0");
    console.press(KeyCode::Enter);
    let edit = Edit::Rename(vec![("em1".to_owned(), "lan0".to_owned())]);
    assert_eq!(*console.asked(), Effect::PlanNetwork(edit.clone()));
    // What the node has against it is said over the form, which is there again afterwards.
    console.outcome(Outcome::Planned(Err("lan0: another interface of this node has the name already".to_owned())));
    console.shows("another interface of this node has the name already");
    console.press(KeyCode::Enter);
    console.shows("[lan0_");
    console.press(KeyCode::Enter);
    console.outcome(Outcome::Planned(Ok(planned(false))));
    console.shows("1. remove 192.168.1.10/24 from bond0");
    console.press(KeyCode::Char('y'));
    assert_eq!(*console.asked(), Effect::ChangeNetwork(edit));
}

#[test]
fn os_tui_065_066_the_network_is_tested_and_the_test_can_be_stopped() {
    let mut console = management("Test Network");
    console.press(KeyCode::Enter);
    assert_eq!(*console.asked(), Effect::TestNetwork("114.114.114.114".to_owned()));
    console.outcome(Outcome::Progress { line: Some("icmp_seq=1 time=3 ms".to_owned()), done: None });
    console.shows("icmp_seq=1");
    let number = console.app.latest;
    console.press(KeyCode::Esc);
    assert_eq!(*console.asked(), Effect::Stop);
    console.happen(Event::Outcome(number, Outcome::Ended(Ok("late".to_owned()))));
    assert!(!console.screen(100, 40).contains("late"), "nobody waits for it any more");
    for wrong in ["", "-f", "a b", "$(reboot)", "a;b"] {
        let mut console = management("Test Network");
        fill(&mut console, wrong);
        console.press(KeyCode::Enter);
        console.shows("write an IP address or a host name");
    }
    let mut console = management("Test Network");
    fill(&mut console, "fe80::1%em1");
    console.press(KeyCode::Enter);
    assert_eq!(*console.asked(), Effect::TestNetwork("fe80::1%em1".to_owned()));
}

#[test]
fn os_tui_070_to_077_an_address_of_an_interface() {
    let mut console = management("Configure Networks");
    assert!(!console.screen(100, 40).contains("em3"), "those that are on (OS-TUI-070)");
    console.shows("bond0(MN)");
    console.press(KeyCode::Char('a'));
    console.shows("em3");
    console.press(KeyCode::Char('a'));
    (0..2).for_each(|_| console.press(KeyCode::Down));
    console.press(KeyCode::Enter);
    console.shows("carries the management network");
    console.shows("[192.168.1.10_");
    console.shows("[255.255.255.0_");
    for (typed, problems) in [
        (["", "", ""], vec!["is empty; write it like 192.168.1.10", "is empty; write it like 255.255.255.0"]),
        (["x", "y", "z"], vec!["\"x\" is no IP address", "\"y\" is no netmask", "\"z\" is no IP address"]),
        (["192.168.1.10", "255.255.255.0", "192.168.2.1"], vec!["is not in the network 192.168.1.0/24"]),
    ] {
        fill_all(&mut console, &typed);
        console.press(KeyCode::Enter);
        problems.iter().for_each(|problem| console.shows(problem));
        // The cursor went to the first wrong field.
        let at = match console.app.windows.last() {
            Some(zstack_tui::app::Window::Form(_, form)) => form.at,
            other => panic!("{other:?}"),
        };
        (0..at).for_each(|_| console.press(KeyCode::BackTab));
    }
    fill_all(&mut console, &["192.168.1.20", "255.255.255.0", "192.168.1.1"]);
    console.press(KeyCode::Enter);
    let (address, gateway) = ("192.168.1.20/24".parse().unwrap(), "192.168.1.1".parse().unwrap());
    let edit = Edit::Address { link: "bond0".to_owned(), address, gateway };
    assert_eq!(*console.asked(), Effect::PlanNetwork(edit.clone()));
    console.outcome(Outcome::Planned(Ok(planned(true))));
    console.shows("taken back by itself unless you keep it within 90 s");
    console.press(KeyCode::Char('n'));
    assert!(matches!(console.asked(), Effect::PlanNetwork(_)), "only Y does it");
    console.press(KeyCode::Char('y'));
    assert_eq!(*console.asked(), Effect::ChangeNetwork(edit));
}

#[test]
fn a_change_in_force_is_kept_taken_back_or_runs_out() {
    let changed = || {
        let mut console = management("Set Management Network");
        console.press(KeyCode::Enter);
        console.outcome(Outcome::Planned(Ok(planned(true))));
        console.press(KeyCode::Char('y'));
        assert!(matches!(console.asked(), Effect::ChangeNetwork(Edit::Management(_))));
        console.outcome(Outcome::Trial(90));
        console.shows("90 s");
        console
    };
    let mut console = changed();
    console.press(KeyCode::Enter);
    console.press(KeyCode::F(2));
    console.shows("90 s");
    console.press(KeyCode::Char('y'));
    assert_eq!(*console.asked(), Effect::KeepNetwork);
    for key in [KeyCode::Esc, KeyCode::Char('n')] {
        let mut console = changed();
        console.press(key);
        assert_eq!(*console.asked(), Effect::RevertNetwork);
    }
    let mut console = changed();
    console.happen(Event::Tick(90_999));
    console.shows("1 s");
    console.happen(Event::Tick(91_000));
    console.shows("the old network is back");
}

#[test]
fn bonds_vlans_bridges_and_dhcp_are_keys_of_the_list() {
    let at_bond = || {
        let mut console = management("Configure Networks");
        (0..2).for_each(|_| console.press(KeyCode::Down));
        console
    };
    let planned_by = |key: char, downs: usize| {
        let mut console = management("Configure Networks");
        (0..downs).for_each(|_| console.press(KeyCode::Down));
        console.press(KeyCode::Char(key));
        console.asked().clone()
    };
    let bond = || "bond0".to_owned();
    assert_eq!(planned_by('h', 2), Effect::PlanNetwork(Edit::Dhcp(bond())));
    assert_eq!(planned_by('r', 2), Effect::PlanNetwork(Edit::Bridge(bond())));
    assert_eq!(planned_by('d', 2), Effect::PlanNetwork(Edit::DeleteBond(bond())));
    assert_eq!(planned_by('d', 3), Effect::PlanNetwork(Edit::DeleteVlan { parent: bond(), id: 100 }));
    let mut console = at_bond();
    console.press(KeyCode::Char('v'));
    for wrong in ["", "0", "4095", "ten"] {
        fill(&mut console, wrong);
        console.press(KeyCode::Enter);
        console.shows("write a number from 1 to 4094");
    }
    fill(&mut console, "200");
    console.press(KeyCode::Enter);
    assert_eq!(*console.asked(), Effect::PlanNetwork(Edit::CreateVlan { parent: bond(), id: 200 }));
    // Its members: em1 goes, em3 comes, another mode.
    let mut console = at_bond();
    console.press(KeyCode::Char('m'));
    console.press(KeyCode::Right);
    console.press(KeyCode::Tab);
    console.press(KeyCode::Char(' '));
    console.press(KeyCode::Left);
    console.press(KeyCode::Char(' '));
    console.press(KeyCode::Enter);
    let cards = vec!["em2".to_owned(), "em3".to_owned()];
    assert_eq!(*console.asked(), Effect::PlanNetwork(Edit::ChangeBond { name: bond(), mode: 5, cards }));
    // A new one gets cards that are free.
    let mut console = at_bond();
    console.press(KeyCode::Char('b'));
    fill(&mut console, "bond1");
    console.press(KeyCode::Tab);
    console.press(KeyCode::Tab);
    console.press(KeyCode::Char(' '));
    console.press(KeyCode::Enter);
    let edit = Edit::CreateBond { name: "bond1".to_owned(), mode: 4, cards: vec!["em3".to_owned()] };
    assert_eq!(*console.asked(), Effect::PlanNetwork(edit));
}

#[test]
fn os_tui_085_to_090_the_console_proxy() {
    let opened = || {
        let mut console = management("Configure Console Proxy");
        console.outcome(Outcome::ConsoleProxy(Ok((Some("192.168.1.10".to_owned()), 4900))));
        console.shows("[192.168.1.10_");
        console.shows("[4900_");
        console
    };
    for (typed, problem) in [
        (["", ""], "address and port are both empty"),
        (["node-1", "4900"], "is no IP address"),
        (["192.168.1.300", "4900"], "is no IP address"),
        (["192.168.1.10", "1023"], "write a number from 1024 to 65535"),
        (["192.168.1.10", "65536"], "write a number from 1024 to 65535"),
        (["192.168.1.10", "http"], "write a number from 1024 to 65535"),
    ] {
        let mut console = opened();
        fill_all(&mut console, &typed);
        console.press(KeyCode::Enter);
        console.shows(problem);
    }
    for (typed, address, port) in [
        (["10.0.0.1", "1024"], Some("10.0.0.1"), Some(1024)),
        (["10.0.0.1", ""], Some("10.0.0.1"), None),
        (["", "65535"], None, Some(65535)),
    ] {
        let mut console = opened();
        fill_all(&mut console, &typed);
        console.press(KeyCode::Enter);
        console.press(KeyCode::Char('y'));
        let address = address.map(|address| address.parse().unwrap());
        assert_eq!(*console.asked(), Effect::SetConsoleProxy { address, port });
    }
    let mut console = management("Configure Console Proxy");
    console.outcome(Outcome::ConsoleProxy(Err("the management service does not run".to_owned())));
    console.shows("the management service does not run");
}

#[test]
fn os_tui_095_100_logs_and_backups() {
    let mut console = management("Collect Logs");
    fill_all(&mut console, &["yesterday", "stick"]);
    console.press(KeyCode::Enter);
    console.shows("write a span");
    console.shows("write a folder");
    fill_all(&mut console, &["7d", "/media/usb"]);
    console.press(KeyCode::Enter);
    let wanted = Effect::CollectLogs { since: "7d".to_owned(), copy: Some("/media/usb".into()) };
    assert_eq!(*console.asked(), wanted);
    console.outcome(Outcome::Progress { line: Some("host node-2".to_owned()), done: Some(420) });
    console.shows("42 %");
    console.outcome(Outcome::Ended(Ok("url: https://192.168.1.10:5000/download/x/".to_owned())));
    console.shows("https://192.168.1.10:5000/download/x/");

    let mut console = management("Backup Database");
    let backup = Backup { file: "/var/lib/zstack/mysql-backup/a.gz".into(), size: 2048 };
    console.outcome(Outcome::Backups(Ok(vec![backup.clone()])));
    console.press(KeyCode::Enter);
    assert_eq!(*console.asked(), Effect::BackUp);
    let mut console = management("Backup Database");
    console.outcome(Outcome::Backups(Ok(vec![backup.clone()])));
    console.press(KeyCode::Down);
    console.press(KeyCode::Enter);
    console.text("restore");
    console.press(KeyCode::Enter);
    console.shows("> restore");
    console.text(" database");
    console.press(KeyCode::Enter);
    assert_eq!(*console.asked(), Effect::Restore(backup.file));
}

#[test]
fn os_tui_105_to_108_125_to_127_every_action_has_its_phrase() {
    for (downs, phrase, action) in [
        (0, "start zstack", ServiceAction::Start),
        (1, "stop zstack", ServiceAction::Stop),
        (2, "restart zstack", ServiceAction::Restart),
    ] {
        let mut console = management("Start/Stop/Restart ZStack Service");
        (0..downs).for_each(|_| console.press(KeyCode::Down));
        console.press(KeyCode::Enter);
        console.press(KeyCode::Enter);
        console.press(KeyCode::Char('y'));
        console.press(KeyCode::Backspace);
        assert!(matches!(console.asked(), Effect::Authenticate(_)));
        console.text(phrase);
        console.press(KeyCode::Enter);
        assert_eq!(*console.asked(), Effect::Service(action));
        console.press(KeyCode::Esc);
        console.shows("Please wait");
    }
    for (downs, phrase, action) in [(0, "REBOOT", PowerAction::Reboot), (1, "POWEROFF", PowerAction::PowerOff)] {
        let mut console = Console::new(Role::Storage);
        console.press(KeyCode::F(12));
        console.text("secret");
        console.press(KeyCode::Enter);
        console.outcome(Outcome::Authenticated(Ok(())));
        (0..downs).for_each(|_| console.press(KeyCode::Right));
        console.press(KeyCode::Enter);
        console.text(phrase);
        console.press(KeyCode::Enter);
        assert_eq!(*console.asked(), Effect::Power(action));
    }
}

#[test]
fn os_tui_110_to_117_a_reset_is_extremely_dangerous_and_has_a_phrase_of_its_own() {
    for (label, phrase, others, drop_database) in [
        ("Reset ZStack Service", "reset zstack", ["reset zstack drop database", "RESET ZSTACK"], false),
        ("Reset ZStack Service&Drop Database", "reset zstack drop database", ["reset zstack", "y"], true),
    ] {
        for wrong in others {
            let mut console = management(label);
            console.shows("extremely dangerous");
            console.shows(if drop_database {
                "DATABASE IS DROPPED"
            } else {
                "database and the keys of the cloud are kept"
            });
            console.text(wrong);
            console.press(KeyCode::Enter);
            assert!(matches!(console.asked(), Effect::Authenticate(_)), "{wrong:?} asked for {:?}", console.asked());
        }
        let mut console = management(label);
        console.text(phrase);
        console.press(KeyCode::Enter);
        assert_eq!(*console.asked(), Effect::Reset { drop_database });
        // It is not given up in the middle.
        console
            .outcome(Outcome::Progress { line: Some("stopping the management service".to_owned()), done: Some(300) });
        console.press(KeyCode::Esc);
        console.shows("30 %");
        console.shows("stopping the management service");
        console.outcome(Outcome::Ended(Ok("log in as admin with `password`".to_owned())));
        console.shows("OK log in as admin with `password`");
        // OS-TUI-043: nodes without the service have nothing to reset.
        for role in [Role::Compute, Role::Storage] {
            assert!(!role.entries().iter().any(|entry| matches!(entry, Entry::Reset | Entry::ResetAndDrop)));
        }
    }
    let mut console = management("Reset ZStack Service");
    console.text("reset zstack");
    console.press(KeyCode::Enter);
    console.outcome(Outcome::Ended(Err("the database cannot be backed up, and nothing was changed".to_owned())));
    console.shows("ERROR the database cannot be backed up, and nothing was changed");
}

#[test]
fn a_mouse_chooses_what_is_under_it_and_scrolls_but_answers_nothing() {
    let mut console = Console::configuration(Role::Management);
    console.click("Start/Stop/Restart");
    console.shows("> Start");
    console.click("Restart  ");
    console.shows("To confirm, type: restart zstack");
    console.text("restart zstack");
    for text in ["To confirm", "restart zstack", "Terminal Info", "Change Passwords"] {
        console.click(text);
        assert!(matches!(console.asked(), Effect::Authenticate(_)), "{text:?} asked for {:?}", console.asked());
    }
    console.shows("> restart zstack");
    console.press(KeyCode::Esc);

    // What lies under a window is out of reach, and what is beside the buttons is nothing.
    console.click("Collect Logs");
    console.click("Terminal Info");
    console.shows("Since");
    console.mouse(Mouse::Down);
    console.press(KeyCode::Esc);
    console.click("System Configuration");
    assert!(console.app.windows.is_empty());
    for expected in [6, 7, 8].map(Screen::Configuration) {
        assert_eq!(console.app.screen, expected);
        console.mouse(Mouse::Down);
    }
    console.mouse(Mouse::Up);
    assert_eq!(console.app.screen, Screen::Configuration(8));

    // Lists that are longer than their window: the line that is seen there, not the one of the same number.
    let mut console = management("Backup Database");
    let backup = |at: usize| Backup { file: format!("/backups/number-{at:02}.gz").into(), size: 2048 };
    console.outcome(Outcome::Backups(Ok((0..40).map(backup).collect())));
    (0..30).for_each(|_| console.mouse(Mouse::Down));
    console.click("number-25.gz");
    console.shows("number-25.gz");
    console.shows("restore database");

    let mut console = Console::new(Role::Storage);
    console.press(KeyCode::F(12));
    console.text("secret");
    console.press(KeyCode::Enter);
    console.outcome(Outcome::Authenticated(Ok(())));
    console.click("Poweroff");
    console.shows("To confirm, type: POWEROFF");
}

#[test]
fn os_tui_120_the_terminals_are_explained_with_a_warning() {
    let console = management("Terminal Info");
    for text in ["Ctrl+Alt+F1", "Ctrl+Alt+F2", "Ctrl+Alt+F3", "zstack-cli", "WARNING"] {
        console.shows(text);
    }
}

#[test]
fn a_node_joins_with_an_address_and_a_code_and_a_host_does_not() {
    for role in [Role::Management, Role::Compute, Role::Storage] {
        let console = Console::configuration(role);
        assert!(!console.screen(100, 40).contains("Join a Cloud"), "{role:?}: it is in one");
    }
    let mut management = Console::configuration(Role::Management);
    management.facts(cloudless(None));
    assert!(!management.screen(100, 40).contains("Join a Cloud"), "a management node is the cloud");

    let mut console = Console::cloudless(Role::Compute, Some(("192.0.2.9:8080", None)));
    console.open("Join a Cloud");
    console.shows("192.0.2.9:8080");
    for (address, code, wrong) in [
        ("", "abcd-efgh-jkmn-pqrs-tvwx", "write an address or a name"),
        ("--from", "abcd-efgh-jkmn-pqrs-tvwx", "write an address or a name"),
        ("192.0.2.1", "abcd", "a code has 20 characters"),
        ("192.0.2.1", "abcd-efgh-jkmn-pqrs-tvwu", "a code has 20 characters"),
    ] {
        fill_all(&mut console, &[address, code]);
        console.effects.clear();
        console.press(KeyCode::Enter);
        console.shows(wrong);
        assert!(console.effects.is_empty());
        console.press(KeyCode::Esc);
        console.press(KeyCode::Enter);
    }
    fill_all(&mut console, &[" cloud.example.org ", "abcd efgh jkmn pqrs tvwx"]);
    console.press(KeyCode::Enter);
    console.shows("Join the cloud of cloud.example.org?");
    assert!(console.effects.is_empty(), "only after an answer");
    console.press(KeyCode::Char('y'));
    let wanted = Effect::JoinCloud { address: "cloud.example.org".to_owned(), code: "abcd efgh jkmn pqrs tvwx".into() };
    assert_eq!(*console.asked(), wanted);
    console.outcome(Outcome::Ended(Err("code ABCD-... is used up".to_owned())));
    console.shows("is used up");

    // Once it is a host there is nothing to join.
    let mut joined = healthy();
    joined.cloud = Reading::Seen(zstack_tui::facts::CloudFacts { enrolled: true, joining: None });
    console.press(KeyCode::Esc);
    console.facts(joined);
    assert!(!console.screen(100, 40).contains("Join a Cloud"));
}
