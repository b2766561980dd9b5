//! The state of the console.

use crate::{
    effect::{Edit, Effect, Interface},
    facts::{Facts, History},
    gate::Attempts,
    look::Look,
    role::{Entry, Role},
    window::{Notice, Trial, Work, confirm::Question, form::Form, list::List},
    words::{Language, Word},
};

/// Everything the console knows.
#[derive(Debug)]
pub struct App {
    /// What the node is for.
    pub role: Role,
    /// Language of its texts.
    pub language: Language,
    /// What the terminal can show.
    pub look: Look,
    /// What the node is doing.
    pub facts: Facts,
    /// What it was doing.
    pub history: History,
    /// What is seen below all windows.
    pub screen: Screen,
    /// Windows, the last one on top.
    pub windows: Vec<Window>,
    /// Wrong passwords.
    pub attempts: Attempts,
    /// Where the password that is being looked at leads.
    pub behind: Option<Behind>,
    /// Milliseconds on a clock that nobody sets.
    pub now_ms: u64,
    /// When a key was last pressed.
    pub touched_ms: u64,
    /// Number of the latest effect: what comes back from an earlier one is not listened to.
    pub latest: u64,
    /// How long a change of the management network waits for its confirmation.
    pub confirm_seconds: u64,
    /// First line of lists on the main screen that are longer than their panel.
    pub scrolled: usize,
    /// The change of the network that is being planned, and what its windows are about.
    pub planning: Option<(Word, Edit)>,
    /// Everything has to be drawn anew: somebody has written over it.
    pub redraw: bool,
}

/// What is seen below all windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screen {
    /// The panels.
    Main,
    /// System configuration, with the entry under the cursor.
    Configuration(usize),
    /// Reboot and power-off, with the button under the cursor.
    Power(usize),
}

/// Where the right password leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    /// `F2`.
    Configuration,
    /// `F12`.
    Power,
}

/// Something over a screen.
#[derive(Debug, PartialEq, Eq)]
pub enum Window {
    /// The system password is asked for.
    Gate(Behind, Form),
    /// A form, and what it is for.
    Form(Purpose, Form),
    /// A list, and what it is for.
    List(Choice, List),
    /// A question, and what happens after it.
    Ask(Effect, Question),
    /// Something that is being done.
    Work(Work),
    /// Text to be read.
    Notice(Notice),
    /// A network change in force.
    Trial(Trial),
    /// Something is being looked up, for this.
    Wait(Word),
}

/// What a form is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// OS-TUI-051.
    RootPassword,
    /// OS-TUI-054, with the account.
    DatabasePassword(&'static str),
    /// OS-TUI-057.
    BusPassword,
    /// OS-TUI-060; the cards, in the order of the fields.
    RenameNics(Vec<String>),
    /// OS-TUI-065.
    TestNetwork,
    /// OS-TUI-072, with the interface.
    Address(String),
    /// A new bond.
    NewBond,
    /// A bond that is changed.
    Bond(String),
    /// A new VLAN on this.
    NewVlan(String),
    /// OS-TUI-085; what is set now.
    ConsoleProxy(Option<String>, u16),
    /// OS-TUI-095.
    CollectLogs,
    /// The cloud to join.
    JoinCloud,
}

/// What a list is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// OS-TUI-050.
    Passwords,
    /// OS-TUI-070: interfaces of which those that are on, or all, are shown.
    Networks {
        /// All there are.
        interfaces: Vec<Interface>,
        /// Those that are off are shown, too.
        all: bool,
    },
    /// OS-TUI-080, in the order of the lines.
    Management(Vec<String>),
    /// OS-TUI-100; the backups there are, in the order of the lines after the first.
    Backups(Vec<std::path::PathBuf>),
    /// OS-TUI-105.
    Service,
}

impl App {
    /// The console of a node at its start.
    pub fn new(role: Role, language: Language, look: Look) -> Self {
        Self {
            role,
            language: if look.chinese() { language } else { Language::English },
            look,
            facts: Facts::default(),
            history: History::default(),
            screen: Screen::Main,
            windows: Vec::new(),
            attempts: Attempts::default(),
            behind: None,
            now_ms: 0,
            touched_ms: 0,
            latest: 0,
            confirm_seconds: 90,
            scrolled: 0,
            planning: None,
            redraw: false,
        }
    }

    /// A text in the present language.
    pub fn say(&self, word: Word) -> &'static str {
        word.of(self.language)
    }

    /// The same, with values in it.
    pub fn fill(&self, word: Word, values: &[&str]) -> String {
        word.fill(self.language, values)
    }

    /// Entries of the system configuration as the node is now: one that is in a cloud joins no other.
    pub fn entries(&self) -> Vec<Entry> {
        let fits = |entry: &Entry| *entry != Entry::JoinCloud || self.facts.without_cloud().is_some();
        self.role.entries().iter().copied().filter(fits).collect()
    }

    /// The window on top.
    pub fn top(&self) -> Option<&Window> {
        self.windows.last()
    }
}
