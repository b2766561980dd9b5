//! A console whose node the test plays.

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent};
use ratatui::{
    Terminal,
    backend::TestBackend,
    layout::{Position, Size},
};
use zstack_tui::{
    app::App,
    draw,
    effect::{Effect, Interface, Outcome, Planned},
    facts::{
        AgentFacts, CloudFacts, DiskFacts, Facts, MemoryFacts, NicFacts, Reading, ServiceFacts, TimeFacts, VmFacts,
    },
    look::Look,
    role::Role,
    update::{Event, Mouse, update},
    words::Language,
};

/// A console, and what it has asked for last.
pub(crate) struct Console {
    pub(crate) app: App,
    pub(crate) effects: Vec<Effect>,
}

impl Console {
    /// A console with the healthy node's facts.
    pub(crate) fn new(role: Role) -> Self {
        let mut console = Self { app: App::new(role, Language::English, Look::Full), effects: Vec::new() };
        console.happen(Event::Tick(1_000));
        console.facts(healthy());
        console
    }

    /// The same, with the system configuration open.
    pub(crate) fn configuration(role: Role) -> Self {
        let mut console = Self::new(role);
        console.press(KeyCode::F(2));
        console.text("secret");
        console.press(KeyCode::Enter);
        assert!(matches!(console.effects[..], [Effect::Authenticate(_)]));
        console.outcome(Outcome::Authenticated(Ok(())));
        console
    }

    /// Opens the entry with this label.
    pub(crate) fn entry(role: Role, label: &str) -> Self {
        let mut console = Self::configuration(role);
        console.open(label);
        console
    }

    /// The system configuration of a node that is in no cloud yet.
    pub(crate) fn cloudless(role: Role, joining: Option<(&str, Option<&str>)>) -> Self {
        let mut console = Self::configuration(role);
        console.facts(cloudless(joining));
        console
    }

    /// Opens the entry with this label, from the first one on.
    pub(crate) fn open(&mut self, label: &str) {
        let at = self.app.entries().iter().position(|entry| entry.label().of(Language::English) == label).unwrap();
        (0..at).for_each(|_| self.press(KeyCode::Down));
        self.press(KeyCode::Enter);
    }

    pub(crate) fn happen(&mut self, event: Event) {
        let effects = update(&mut self.app, event);
        if !effects.is_empty() {
            self.effects = effects;
        }
    }

    pub(crate) fn facts(&mut self, facts: Facts) {
        self.happen(Event::Facts(Box::new(facts)));
    }

    pub(crate) fn press(&mut self, code: KeyCode) {
        self.happen(Event::Key(KeyEvent::from(code)));
    }

    /// Clicks on the first place of the usual screen that has this text.
    #[track_caller]
    pub(crate) fn click(&mut self, text: &str) {
        let screen = self.screen(80, 24);
        let found = screen.lines().enumerate().find_map(|(row, line)| Some((row, line.split_once(text)?.0)));
        let (row, before) = found.unwrap_or_else(|| panic!("{text:?} is not on\n{screen}"));
        // Lines of the picture stand in quotes.
        let column = before.chars().count() - 1;
        self.mouse(Mouse::Click(Position::new(column.try_into().unwrap(), row.try_into().unwrap())));
    }

    /// The mouse, on a screen of the usual size.
    pub(crate) fn mouse(&mut self, mouse: Mouse) {
        self.happen(Event::Mouse(mouse, Size::new(80, 24)));
    }

    pub(crate) fn text(&mut self, text: &str) {
        text.chars().for_each(|character| self.press(KeyCode::Char(character)));
    }

    pub(crate) fn outcome(&mut self, outcome: Outcome) {
        self.happen(Event::Outcome(self.app.latest, outcome));
    }

    /// The last thing that was asked for.
    pub(crate) fn asked(&self) -> &Effect {
        self.effects.last().expect("nothing was asked for")
    }

    /// What is on a screen of that size.
    pub(crate) fn screen(&self, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw::draw(frame, &self.app)).unwrap();
        terminal.backend().to_string()
    }

    /// The usual screen has this text, wherever its lines are broken.
    #[track_caller]
    pub(crate) fn shows(&self, text: &str) {
        let screen = self.screen(100, 40);
        let words: Vec<&str> =
            screen.split(|c: char| c.is_whitespace() || c == '│').filter(|word| *word != "\"").collect();
        let flat = words.iter().filter(|word| !word.is_empty()).copied().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(text), "{text:?} is not on the screen:\n{screen}");
    }
}

pub(crate) fn healthy() -> Facts {
    let nic = |name: &str, kind: &str, up, management, address: &str| NicFacts {
        name: name.to_owned(),
        kind: kind.to_owned(),
        up,
        management,
        addresses: if address.is_empty() { Vec::new() } else { vec![address.to_owned()] },
        traffic: Some((1_500_000, 250_000)),
    };
    let vm = |at: u32, state: &str| VmFacts {
        uuid: format!("{at:032x}"),
        name: format!("web-{at}"),
        cpus: 2 * at,
        memory: u64::from(at) << 30,
        state: state.to_owned(),
    };
    Facts {
        host: "node-1".to_owned(),
        time: TimeFacts {
            started: "2026-01-30 08:00:00".to_owned(),
            now: "2026-01-31 12:34:56".to_owned(),
            uptime: Duration::from_secs(102_896),
            load: [0.42, 0.36, 0.3],
        },
        processor: Some(0.37),
        processors: 16,
        memory: Some(MemoryFacts { used: 24 << 30, total: 64 << 30 }),
        disks: vec![
            DiskFacts { folder: "/".to_owned(), space: Reading::Seen((180 << 30, 251 << 30)) },
            DiskFacts { folder: "/var/lib/zstack".to_owned(), space: Reading::Seen((1 << 40, 2 << 40)) },
            DiskFacts { folder: "/var/log".to_owned(), space: Reading::Seen((180 << 30, 251 << 30)) },
        ],
        nics: Reading::Seen(vec![
            nic("em1", "nic", true, false, ""),
            nic("em2", "nic", true, false, ""),
            nic("em3", "nic", false, false, ""),
            nic("bond0", "bond", true, true, "192.168.1.10/24"),
            nic("bond0.100", "vlan", true, false, "10.0.100.10/24"),
        ]),
        message_bus: true,
        service: Reading::Seen(ServiceFacts {
            version: "0.1.0".to_owned(),
            web_address: "https://192.168.1.10:5000".to_owned(),
            licence: "unlimited".to_owned(),
            database_server: true,
            hosts: [12, 11, 10],
            vms: [345, 300, 45],
            console_proxy: (Some("192.168.1.10".to_owned()), 4900),
        }),
        agent: Reading::Seen(AgentFacts {
            version: "0.1.0".to_owned(),
            host: Some("0123456789abcdef0123456789abcdef".to_owned()),
            management_seen: Some(Duration::from_secs(4)),
            vms: vec![vm(1, "running"), vm(2, "paused"), vm(3, "running")],
        }),
        cloud: Reading::Seen(CloudFacts { enrolled: true, joining: None }),
    }
}

/// A node that was just installed: the agent waits for a certificate.
pub(crate) fn cloudless(joining: Option<(&str, Option<&str>)>) -> Facts {
    let joining = joining.map(|(service, why)| (service.to_owned(), why.map(str::to_owned)));
    Facts {
        agent: Reading::Missing("the agent does not run".to_owned()),
        cloud: Reading::Seen(CloudFacts { enrolled: false, joining }),
        ..healthy()
    }
}

/// Services down, a disk full, a folder lost, the management network gone.
pub(crate) fn degraded() -> Facts {
    let mut facts = healthy();
    let down = "the management service does not run".to_owned();
    facts.service = Reading::Missing(down);
    facts.agent = Reading::Missing("the agent does not run".to_owned());
    facts.disks[0].space = Reading::Seen((2 << 30, 251 << 30));
    facts.disks[1].space = Reading::Missing("No such file or directory".to_owned());
    if let Reading::Seen(nics) = &mut facts.nics {
        nics[3].up = false;
    }
    facts
}

pub(crate) fn interfaces() -> Vec<Interface> {
    let interface = |name: &str, kind: &str| Interface {
        name: name.to_owned(),
        kind: kind.to_owned(),
        on: true,
        carrier: true,
        mac: "52:54:00:00:00:01".to_owned(),
        card: kind == "nic",
        ..Interface::default()
    };
    vec![
        Interface { master: Some("bond0".to_owned()), ..interface("em1", "nic") },
        Interface { master: Some("bond0".to_owned()), mac: "52:54:00:00:00:02".to_owned(), ..interface("em2", "nic") },
        Interface { on: false, carrier: false, mac: "52:54:00:00:00:03".to_owned(), ..interface("em3", "nic") },
        Interface {
            management: true,
            addresses: vec!["192.168.1.10/24".parse().unwrap()],
            bond: Some((4, vec!["em1".to_owned(), "em2".to_owned()])),
            ..interface("bond0", "bond")
        },
        Interface {
            addresses: vec!["10.0.100.10/24".parse().unwrap()],
            vlan: Some(("bond0".to_owned(), 100)),
            ..interface("bond0.100", "vlan")
        },
    ]
}

pub(crate) fn planned(touches_management: bool) -> Planned {
    Planned {
        steps: vec!["remove 192.168.1.10/24 from bond0".to_owned(), "add 192.168.1.20/24 to bond0".to_owned()],
        notes: vec!["another interface has the default route".to_owned()],
        touches_management,
    }
}
