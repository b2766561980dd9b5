//! The screens: how each looks, and that nothing is erased before it was agreed to.

use crossterm::event::{KeyCode, KeyEvent};
use installer_plan::{facts::Facts, manifest::Manifest};
use proptest::prelude::*;
use ratatui::{Terminal, backend::TestBackend};
use zstack_installer::{
    events,
    screen::{
        app::{App, Page},
        draw::draw,
        update::{Effect, Event, update},
    },
};
use zstack_tui::look::Look;

fn manifest() -> Manifest {
    Manifest::parse(include_str!("../../plan/cases/manifest.json")).unwrap()
}

/// One disk with something on it, two cards.
fn facts() -> Facts {
    serde_json::from_str(include_str!("../facts.json")).unwrap()
}

struct Screen {
    app: App,
}

impl Screen {
    fn new(look: Look) -> Self {
        Self { app: App::new(facts(), manifest(), look) }
    }

    fn event(&mut self, event: Event) -> Vec<Effect> {
        update(&mut self.app, event)
    }

    fn press(&mut self, code: KeyCode) -> Vec<Effect> {
        self.event(Event::Key(KeyEvent::from(code)))
    }

    fn text(&mut self, text: &str) {
        for character in text.chars() {
            self.press(KeyCode::Char(character));
        }
    }

    fn fields(&mut self, texts: &[&str]) {
        for (number, text) in texts.iter().enumerate() {
            if number > 0 {
                self.press(KeyCode::Tab);
            }
            self.text(text);
        }
    }

    /// Opens a section, by its place on the main screen.
    fn open(&mut self, place: usize) {
        self.press(KeyCode::Home);
        for _ in 0..place {
            self.press(KeyCode::Down);
        }
        self.press(KeyCode::Enter);
    }

    /// Answers what has no default.
    fn answered(look: Look) -> Self {
        let mut screen = Self::new(look);
        screen.open(1);
        screen.press(KeyCode::Enter);
        screen.open(5);
        screen.fields(&["secret", "secret"]);
        screen.press(KeyCode::Enter);
        screen
    }

    fn summary(look: Look) -> Self {
        let mut screen = Self::answered(look);
        screen.open(6);
        assert!(matches!(screen.app.page, Page::Summary(_)), "{}", screen.drawn(80, 24));
        screen
    }

    fn running() -> Self {
        let mut screen = Self::summary(Look::Full);
        screen.text("sda");
        let effects = screen.press(KeyCode::Enter);
        assert!(matches!(&effects[..], [Effect::Install(answers)] if answers.disk.erase), "{effects:?}");
        for event in [
            events::Event::Step { step: "unpack-base".into(), about: "unpack base".into(), number: 8, of: 16 },
            events::Event::Progress { percent: 42.4, step_percent: 66.0, rate: Some(50 << 20) },
        ] {
            screen.event(Event::Install(event));
        }
        for number in 0..40 {
            screen.event(Event::Install(events::Event::Log { line: format!("line {number}") }));
        }
        screen
    }

    fn drawn(&self, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, &self.app)).unwrap();
        terminal.backend().to_string()
    }
}

/// Holds a screen against the pictures of it, at the smallest size and a roomy one.
#[track_caller]
fn picture(name: &str, screen: &Screen) {
    insta::assert_snapshot!(name, format!("{}\n{}", screen.drawn(80, 24), screen.drawn(120, 40)));
}

/// OS-INST-010: the sections, what is open, and the button.
#[test]
fn the_main_screen_says_what_is_open() {
    picture("main_at_first", &Screen::new(Look::Full));
    picture("main_answered", &Screen::answered(Look::Full));
    let mut screen = Screen::new(Look::Full);
    screen.open(6);
    assert!(screen.drawn(80, 24).contains("There are open questions"), "{}", screen.drawn(80, 24));
}

/// OS-MODE-001, OS-DISK-001 to 006, OS-NET-001, OS-INST-013: every section.
#[test]
fn every_section_has_its_page() {
    for (place, name) in ["language", "software", "destination", "network", "time", "root"].iter().enumerate() {
        let mut screen = Screen::answered(Look::Full);
        screen.open(place);
        picture(name, &screen);
    }
}

/// F-012, OS-DISK-003: sizes for the guided layout and lists for the manual one; what is wrong stands at its field.
#[test]
fn disks_are_divided_by_hand() {
    let mut screen = Screen::answered(Look::Full);
    screen.open(2);
    screen.press(KeyCode::Tab);
    screen.press(KeyCode::Right);
    screen.press(KeyCode::Right);
    for _ in 0..8 {
        screen.press(KeyCode::Tab);
    }
    screen.fields(&["ext4 /boot 1 GiB; lvm rest", "root ext4 / rest; swap swap"]);
    screen.press(KeyCode::Enter);
    picture("destination_manual_wrong", &screen);
    screen.text(" 4GiB");
    screen.press(KeyCode::Enter);
    assert!(matches!(screen.app.page, Page::Main { .. }), "{}", screen.drawn(80, 24));
    assert_eq!(screen.app.answers.disk.volume.len(), 2);
    screen.open(6);
    let drawn = screen.drawn(80, 40);
    assert!(drawn.contains("swap   swap  -          4 GiB"), "{drawn}");
}

/// OS-NET-010 to 016, F-014: a bond of two with a VLAN and a static address; the management network is on it.
#[test]
fn several_cards_become_a_bond() {
    let mut screen = Screen::answered(Look::Full);
    screen.open(3);
    screen.text("node-7");
    screen.press(KeyCode::Tab);
    screen.press(KeyCode::Right);
    screen.press(KeyCode::Tab);
    screen.press(KeyCode::Right);
    screen.press(KeyCode::Char(' '));
    screen.press(KeyCode::Tab);
    screen.press(KeyCode::Tab);
    screen.fields(&["100", "192.0.2.10", "192.0.2.1"]);
    screen.press(KeyCode::Enter);
    picture("network_wrong", &screen);
    screen.text("/24");
    let effects = screen.press(KeyCode::F(5));
    assert!(matches!(effects[..], [Effect::TryNetwork(_), Effect::LookAtNics]), "{effects:?}");
    screen.press(KeyCode::Enter);
    let plan = screen.app.draft(&screen.app.answers).unwrap();
    assert_eq!(plan.network.management.as_deref(), Some("bond0.100"));
    assert_eq!(plan.system.host_name, "node-7");
    assert_eq!(plan.network.links.len(), 4);
}

/// OS-NET-002: an address that comes while the page is open is seen.
#[test]
fn addresses_are_seen_when_they_come() {
    let mut screen = Screen::answered(Look::Full);
    screen.open(3);
    assert_eq!(screen.event(Event::Tick), [Effect::LookAtNics]);
    let mut nics = facts().nics;
    nics[0].addresses = vec!["198.51.100.77/24".to_owned()];
    screen.event(Event::Nics(nics));
    assert!(screen.drawn(80, 24).contains("198.51.100.77/24"));
}

/// Nothing is erased before a page has named every disk and its name was typed.
#[test]
fn the_summary_names_what_is_lost_and_asks_for_the_name_of_the_disk() {
    let mut screen = Screen::summary(Look::Full);
    picture("summary", &screen);
    screen.text("yes");
    assert_eq!(screen.press(KeyCode::Enter), []);
    assert!(screen.drawn(80, 24).contains("not what was asked for"), "{}", screen.drawn(80, 24));
    assert_eq!(screen.press(KeyCode::Enter), [], "an empty line agrees to nothing");
}

/// F-008, F-014: a compute node is told its cloud, and the code with which it joins by itself.
#[test]
fn a_compute_node_can_be_told_its_cloud() {
    let mut screen = Screen::answered(Look::Full);
    screen.open(1);
    screen.press(KeyCode::Tab);
    screen.press(KeyCode::Tab);
    screen.text("0123-4567-89AB-CDEF-GHJK");
    screen.press(KeyCode::Enter);
    assert!(screen.drawn(120, 40).contains("write the address of the management node"), "{}", screen.drawn(120, 40));
    screen.text("192.0.2.1");
    screen.press(KeyCode::Enter);
    assert!(screen.drawn(120, 40).contains("management joins no cloud"), "{}", screen.drawn(120, 40));
    screen.press(KeyCode::BackTab);
    screen.press(KeyCode::Right);
    screen.press(KeyCode::Enter);
    assert!(matches!(screen.app.page, Page::Main { .. }), "{}", screen.drawn(120, 40));
    screen.open(6);
    let shown = screen.drawn(120, 40);
    assert!(shown.contains("joins the cloud of 192.0.2.1 by itself, with a one-time code"), "{shown}");
    assert!(!shown.contains("89AB"), "the code is shown to whoever passes: {shown}");
}

/// F-021, issue 5: step, percentage, rate, log; an error page with what can be done; the end.
#[test]
fn progress_failure_and_end() {
    let mut screen = Screen::running();
    picture("running", &screen);
    screen.press(KeyCode::PageUp);
    assert!(!screen.drawn(80, 24).contains("line 39"));
    let failed = events::Event::Failed {
        step: "unpack-base".into(),
        cause: "the medium cannot be read".into(),
        log: "/run/zstack-installer/install.log".into(),
        changed: true,
    };
    screen.event(Event::Install(failed));
    picture("failed", &screen);
    assert_eq!(screen.press(KeyCode::Enter), [Effect::Retry]);
    screen.event(Event::Install(events::Event::Done { seconds: 9.0 }));
    picture("done", &screen);
    assert_eq!(screen.press(KeyCode::Enter), [Effect::End(installer_plan::answers::End::Reboot)]);
}

/// Issue 5: an unattended installation shows the same progress, ends by itself, and stays where it fails.
#[test]
fn nobody_is_asked_when_the_answers_are_there() {
    let app = || App::new(facts(), manifest(), Look::Plain);
    let mut screen = Screen { app: app().unattended(Ok(Screen::answered(Look::Plain).app.answers)) };
    let effects = screen.event(Event::Install(events::Event::Done { seconds: 1.0 }));
    assert_eq!(effects, [Effect::End(installer_plan::answers::End::Reboot)]);
    let mut screen = Screen { app: app().unattended(Err("disk.erase: one\nlogin: two".to_owned())) };
    let drawn = screen.drawn(80, 24);
    assert!(drawn.contains("disk.erase: one") && drawn.contains("login: two"), "{drawn}");
    assert!(drawn.contains("Nothing was changed"), "{drawn}");
    assert_eq!(screen.press(KeyCode::Enter), []);
    assert!(matches!(screen.app.page, Page::Main { .. }) && !screen.app.unattended);
}

/// OS-INST-003: a serial line gets ASCII alone; Chinese is for terminals that have its glyphs.
#[test]
fn other_terminals_get_ascii_or_chinese() {
    let plain = Screen::summary(Look::Plain);
    assert!(plain.drawn(80, 24).is_ascii(), "{}", plain.drawn(80, 24));
    let mut plain = Screen::new(Look::Plain);
    plain.press(KeyCode::F(3));
    assert!(plain.drawn(80, 24).contains("SOFTWARE SELECTION"));
    let mut full = Screen::new(Look::Full);
    full.press(KeyCode::F(3));
    picture("main_chinese", &full);
    assert!(plain.drawn(79, 24).contains("80x24 is needed"));
}

#[test]
fn a_password_is_on_no_screen() {
    let mut screen = Screen::answered(Look::Full);
    for place in 0..7 {
        screen.open(place);
        assert!(!screen.drawn(120, 40).contains("secret"));
        screen.press(KeyCode::Esc);
    }
}

fn keys() -> impl Strategy<Value = KeyCode> {
    use KeyCode::{BackTab, Backspace, Down, End, Enter, Esc, F, Home, Left, PageDown, PageUp, Right, Tab, Up};
    let named = vec![
        Enter,
        Enter,
        Enter,
        Tab,
        BackTab,
        Up,
        Down,
        Left,
        Right,
        Home,
        End,
        PageUp,
        PageDown,
        Esc,
        Backspace,
        F(3),
        F(5),
    ];
    // Not `s`: the name of the disk, which agrees to everything, cannot be typed.
    prop_oneof![
        prop::sample::select(named),
        prop::char::range('t', 'z').prop_map(KeyCode::Char),
        Just(KeyCode::Char(' '))
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever is typed: the screen is drawn, and nothing that erases leaves before the phrase was typed.
    #[test]
    fn no_keys_but_the_phrase_erase_anything(keys in prop::collection::vec(keys(), 0..200), answered in any::<bool>()) {
        let mut screen = if answered { Screen::answered(Look::Full) } else { Screen::new(Look::Full) };
        for key in keys {
            for effect in screen.press(key) {
                prop_assert!(!matches!(effect, Effect::Install(_) | Effect::Retry), "{:?}", effect);
            }
            let _ = screen.drawn(80, 24);
        }
    }
}
