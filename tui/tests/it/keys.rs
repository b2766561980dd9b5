//! Random keys: nothing panics, and nothing privileged happens without the password and an answer.

use std::{cell::RefCell, collections::BTreeSet};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};
use ratatui::layout::{Position, Size};
use zstack_tui::{
    effect::{Backup, Denied, Effect, Outcome},
    role::Role,
    update::{Event, Mouse},
};

use crate::console::{Console, cloudless, degraded, healthy, interfaces, planned};

/// What the operator, or the node, does next.
#[derive(Debug, Clone)]
enum Act {
    Key(KeyCode, bool),
    /// The phrases and values that lead somewhere: single keys would hardly ever spell them.
    Words(&'static str),
    Paste(String),
    /// Goes to the password with this key, and types it.
    Unlock(u8),
    /// Opens the entry with this number.
    Entry(usize),
    /// Does what the question on the screen asks for.
    Obey,
    /// The password is accepted, or is not.
    Gate(bool),
    /// The node answers what was asked, well or not.
    Answer(bool),
    Time(u64),
    Mouse(Mouse),
    Facts(u8),
}

fn keys() -> impl Strategy<Value = KeyCode> {
    let plain = prop::sample::select(vec![
        KeyCode::Up,
        KeyCode::Left,
        KeyCode::Right,
        KeyCode::Tab,
        KeyCode::BackTab,
        KeyCode::Esc,
        KeyCode::Backspace,
        KeyCode::Delete,
        KeyCode::Home,
        KeyCode::End,
        KeyCode::PageDown,
        KeyCode::Char(' '),
    ]);
    prop_oneof![
        4 => Just(KeyCode::Enter),
        2 => Just(KeyCode::Down),
        8 => plain,
        2 => Just(KeyCode::Char('y')),
        2 => (1..=12_u8).prop_map(KeyCode::F),
        3 => any::<char>().prop_map(KeyCode::Char),
        3 => prop::char::range('a', 'z').prop_map(KeyCode::Char),
    ]
}

/// One thing, or now and then the whole way into an entry and through its question, which chance alone hardly finds.
fn acts() -> impl Strategy<Value = Vec<Act>> {
    let way = |at| {
        vec![
            Act::Unlock(2),
            Act::Gate(true),
            Act::Entry(at),
            Act::Answer(true),
            Act::Key(KeyCode::Enter, false),
            Act::Obey,
        ]
    };
    prop_oneof![20 => act().prop_map(|act| vec![act]), 1 => (0..12_usize).prop_map(way)]
}

fn act() -> impl Strategy<Value = Act> {
    let words = prop::sample::select(vec![
        "stop zstack",
        "start zstack",
        "restart zstack",
        "REBOOT",
        "POWEROFF",
        "restore database",
        "reset zstack",
        "reset zstack drop database",
        "192.168.1.1",
        "abcd-efgh-jkmn-pqrs-tvwx",
        "em9",
        "100",
        "secret",
    ]);
    prop_oneof![
        10 => (keys(), prop::bool::weighted(0.05)).prop_map(|(code, control)| Act::Key(code, control)),
        2 => words.prop_map(Act::Words),
        1 => ".{0,300}".prop_map(Act::Paste),
        1 => prop::sample::select(vec![2, 12]).prop_map(Act::Unlock),
        2 => (0..12_usize).prop_map(Act::Entry),
        3 => Just(Act::Obey),
        4 => prop::bool::weighted(0.8).prop_map(Act::Gate),
        4 => prop::bool::weighted(0.8).prop_map(Act::Answer),
        1 => (0..700_000_u64).prop_map(Act::Time),
        2 => (0..100_u16, 0..34_u16).prop_map(|(x, y)| Act::Mouse(Mouse::Click(Position::new(x, y)))),
        1 => prop::sample::select(vec![Mouse::Up, Mouse::Down]).prop_map(Act::Mouse),
        1 => (0..3_u8).prop_map(Act::Facts),
    ]
}

fn answer(effect: &Effect, well: bool) -> Outcome {
    let why = || Err("the node says no".to_owned());
    match effect {
        Effect::LookAtNetwork if well => Outcome::Network(Ok(interfaces())),
        Effect::LookAtNetwork => Outcome::Network(why().map(|()| Vec::new())),
        Effect::PlanNetwork(_) if well => Outcome::Planned(Ok(planned(true))),
        Effect::PlanNetwork(_) => Outcome::Planned(why().map(|()| planned(false))),
        Effect::LookAtConsoleProxy => Outcome::ConsoleProxy(Ok((None, 4900))),
        Effect::LookAtBackups => Outcome::Backups(Ok(vec![Backup { file: "/b.gz".into(), size: 1 }])),
        Effect::ChangeNetwork(_) if well => Outcome::Trial(90),
        _ if well => Outcome::Ended(Ok("done".to_owned())),
        _ => Outcome::Ended(why().map(|()| String::new())),
    }
}

/// What an observer knows who sees the keys and the screen alone.
struct Watch {
    /// The password was accepted since the panels were last seen.
    accepted: bool,
    asked: Option<Effect>,
    /// Names of what was asked for.
    reached: BTreeSet<String>,
}

/// The phrase that a question asks for.
fn phrase(screen: &str) -> Option<&str> {
    screen.split("To confirm, type: ").nth(1)?.split("  ").next()
}

fn check(console: &Console, watch: &mut Watch, before: &str, code: KeyCode) {
    for effect in &console.effects {
        match effect {
            Effect::Authenticate(_) => {
                assert!(before.contains("Password of root on this node"), "a password from nowhere:\n{before}");
            }
            effect => assert!(watch.accepted, "{effect:?} without the password:\n{before}"),
        }
        if effect.needs_an_answer() {
            let key = before.contains("Press Y to do this") && matches!(code, KeyCode::Char('y' | 'Y'));
            let phrase = before.contains("To confirm, type") && code == KeyCode::Enter;
            assert!(key || phrase, "{effect:?} after {code:?} on\n{before}");
            if phrase {
                let wanted = self::phrase(before).unwrap();
                assert!(before.contains(&format!("> {wanted} ")), "{wanted:?} was not typed:\n{before}");
            }
        }
        let name = format!("{effect:?}");
        watch.reached.extend(name.split([' ', '(', '{']).next().map(str::to_owned));
        watch.asked = Some(effect.clone());
    }
}

/// As large as every question needs.
const SCREEN: (u16, u16) = (100, 34);

fn run(role: Role, size: (u16, u16), acts: Vec<Act>) -> Watch {
    let mut console = Console::new(role);
    let mut watch = Watch { accepted: false, asked: None, reached: BTreeSet::new() };
    let mut clock = 1_000;
    let press = |console: &mut Console, watch: &mut Watch, code: KeyCode, control: bool| {
        let before = console.screen(SCREEN.0, SCREEN.1);
        console.effects.clear();
        let modifiers = if control { KeyModifiers::CONTROL } else { KeyModifiers::NONE };
        console.happen(Event::Key(KeyEvent::new(code, modifiers)));
        check(console, watch, &before, code);
    };
    for act in acts {
        match act {
            // The other language is the same program; the test reads English.
            Act::Key(KeyCode::F(3), _) => {}
            Act::Key(code, control) => press(&mut console, &mut watch, code, control),
            Act::Words(words) => {
                words.chars().for_each(|code| press(&mut console, &mut watch, KeyCode::Char(code), false));
                press(&mut console, &mut watch, KeyCode::Enter, false);
            }
            Act::Mouse(mouse) => {
                let before = console.screen(SCREEN.0, SCREEN.1);
                console.effects.clear();
                console.happen(Event::Mouse(mouse, Size::from(SCREEN)));
                // No key was pressed: nothing that wants an answer may come of it.
                check(&console, &mut watch, &before, KeyCode::Null);
            }
            Act::Paste(text) => console.happen(Event::Paste(text)),
            Act::Unlock(key) => {
                press(&mut console, &mut watch, KeyCode::F(key), false);
                "secret".chars().for_each(|code| press(&mut console, &mut watch, KeyCode::Char(code), false));
                press(&mut console, &mut watch, KeyCode::Enter, false);
            }
            Act::Entry(at) => {
                press(&mut console, &mut watch, KeyCode::Home, false);
                (0..at).for_each(|_| press(&mut console, &mut watch, KeyCode::Down, false));
                press(&mut console, &mut watch, KeyCode::Enter, false);
            }
            Act::Obey => {
                let screen = console.screen(SCREEN.0, SCREEN.1);
                let phrase = phrase(&screen).unwrap_or("y").to_owned();
                phrase.chars().for_each(|code| press(&mut console, &mut watch, KeyCode::Char(code), false));
                press(&mut console, &mut watch, KeyCode::Enter, false);
            }
            Act::Gate(well) => {
                if matches!(watch.asked, Some(Effect::Authenticate(_))) {
                    watch.asked = None;
                    watch.accepted = well;
                    console.outcome(Outcome::Authenticated(if well { Ok(()) } else { Err(Denied::Wrong) }));
                }
            }
            Act::Answer(well) => {
                let waits = watch.asked.as_ref().is_some_and(|asked| !matches!(asked, Effect::Authenticate(_)));
                if let Some(asked) = watch.asked.take_if(|_| waits) {
                    console.outcome(answer(&asked, well));
                }
            }
            Act::Time(passed) => {
                clock += passed;
                console.effects.clear();
                console.happen(Event::Tick(clock));
                assert!(console.effects.is_empty(), "time does nothing by itself");
            }
            Act::Facts(0) => console.facts(degraded()),
            Act::Facts(1) => console.facts(cloudless(None)),
            Act::Facts(_) => console.facts(healthy()),
        }
        if console.screen(SCREEN.0, SCREEN.1).contains("F2 System configuration   F12") {
            watch.accepted = false;
        }
    }
    console.screen(size.0, size.1);
    watch
}

#[test]
fn nothing_privileged_happens_without_password_and_answer() {
    let roles = prop::sample::select(vec![Role::Management, Role::Compute, Role::Storage]);
    let strategy = (roles, (80..200_u16, 24..60_u16), prop::collection::vec(acts(), 1..80));
    let config = ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() };
    // The same keys every time, and with PROPTEST_CASES as many others as wanted.
    let mut runner = match std::env::var("PROPTEST_CASES") {
        Ok(_) => TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }),
        Err(_) => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    };
    let reached = RefCell::new(BTreeSet::new());
    let ran = runner.run(&strategy, |(role, size, acts)| {
        reached.borrow_mut().extend(run(role, size, acts.concat()).reached);
        Ok(())
    });
    if let Err(error) = ran {
        panic!("{error}");
    }
    // Keys that never get anywhere show nothing.
    for effect in ["ChangeNetwork", "Service", "Power", "SetConsoleProxy", "Reset"] {
        assert!(reached.borrow().contains(effect), "{effect} was never reached: {reached:?}");
    }
}
