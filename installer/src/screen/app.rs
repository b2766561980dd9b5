//! The state of the screens.

use std::collections::{BTreeMap, VecDeque};

use installer_plan::{
    InstallPlan,
    answers::{self, Answers},
    facts::Facts,
    manifest::Manifest,
    plan,
    problem::Problem,
    select,
    text::Text,
};
use zstack_tui::{
    look::Look,
    window::form::Form,
    words::{Language, Word},
};

use super::words;

/// Lines of the log that are kept for the screen.
const KEPT: usize = 500;

/// Everything that is seen, and decides what is seen.
pub struct App {
    /// Language of the screens.
    pub language: Language,
    /// What the terminal can show.
    pub look: Look,
    /// The next drawing is a whole one.
    pub redraw: bool,
    /// The machine.
    pub facts: Facts,
    /// The medium.
    pub manifest: Manifest,
    /// What has been answered so far.
    pub answers: Answers,
    /// Forms as they were accepted, for when they are opened again.
    pub(super) forms: BTreeMap<Section, Form>,
    /// What is on the screen.
    pub page: Page,
    /// The answers came from elsewhere: nobody is asked, and the end is as they say.
    pub unattended: bool,
}

/// Sections of the main screen, in the order in which they are gone through (OS-INST-010, OS-INST-014).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// Language and keyboard.
    Language,
    /// The role.
    Software,
    /// The disk.
    Destination,
    /// Network and host name.
    Network,
    /// Time zone and servers.
    Time,
    /// Logins.
    Root,
}

impl Section {
    /// All.
    pub const ALL: [Self; 6] =
        [Self::Language, Self::Software, Self::Destination, Self::Network, Self::Time, Self::Root];

    /// Its title.
    pub fn title(self) -> Word {
        match self {
            Self::Language => words::LANGUAGE,
            Self::Software => words::SOFTWARE,
            Self::Destination => words::DESTINATION,
            Self::Network => words::NETWORK,
            Self::Time => words::TIME,
            Self::Root => words::ROOT,
        }
    }

    /// The section whose answers a key belongs to.
    pub fn of_key(key: &str) -> Self {
        match key.split(['.', '[']).next().unwrap_or_default() {
            "language" | "keyboard" => Self::Language,
            "disk" => Self::Destination,
            "network" | "host_name" => Self::Network,
            "time" => Self::Time,
            "login" => Self::Root,
            _ => Self::Software,
        }
    }
}

/// What is on the screen.
pub enum Page {
    /// The sections; the cursor stands on this one, behind the last on the button.
    Main {
        /// Line with the cursor.
        at: usize,
        /// What is said about the last key.
        said: Option<Word>,
    },
    /// A section.
    Form(Section, Box<Form>),
    /// What will be done, to be agreed to.
    Summary(Box<Summary>),
    /// It is being done.
    Running(Progress),
    /// It failed.
    Failed {
        /// How far it came.
        progress: Progress,
        /// Why.
        failure: Failure,
        /// Line with the cursor.
        at: usize,
    },
    /// It is done.
    Done(Progress),
}

/// What will be done.
pub struct Summary {
    /// The plan.
    pub plan: InstallPlan,
    /// What was typed.
    pub typed: String,
    /// First line that is seen.
    pub scrolled: usize,
    /// What was typed was not what was asked for.
    pub wrong: bool,
}

impl Summary {
    /// What must be typed: the names of the disks that are erased.
    pub fn phrase(&self) -> String {
        let names: Vec<&str> = self.plan.erases.iter().map(|erased| erased.disk.trim_start_matches("/dev/")).collect();
        names.join(" ")
    }
}

/// How far an installation is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// What is being done.
    pub about: Text,
    /// Place of the step, and how many there are.
    pub step: (usize, usize),
    /// Percent of everything.
    pub percent: f64,
    /// Percent of the step.
    pub step_percent: f64,
    /// Bytes per second.
    pub rate: Option<u64>,
    /// The end of the log.
    pub lines: VecDeque<String>,
    /// Lines above the end that are seen.
    pub scrolled: usize,
}

impl Progress {
    pub(super) fn log(&mut self, line: String) {
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

/// Why an installation failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The step.
    pub step: String,
    /// The reason.
    pub cause: String,
    /// Where the log is.
    pub log: String,
    /// The disks are not as before.
    pub changed: bool,
}

impl App {
    /// The main screen of a machine and a medium.
    pub fn new(facts: Facts, manifest: Manifest, look: Look) -> Self {
        let mut answers = Answers::default();
        // One disk that can be used is taken, as without a person; several are a question.
        if let [disk] = select::usable(&facts, 0)[..] {
            answers.disk.device.clone_from(&disk.path);
        }
        Self {
            language: Language::English,
            look,
            redraw: false,
            facts,
            manifest,
            answers,
            forms: BTreeMap::new(),
            page: Page::Main { at: 1, said: None },
            unattended: false,
        }
    }

    /// The progress of an installation that nobody was asked for; or why it cannot begin, with the ways out.
    #[must_use]
    pub fn unattended(mut self, answers: Result<Answers, String>) -> Self {
        self.unattended = true;
        self.page = match answers {
            Ok(answers) => {
                self.speak(answers.language);
                self.answers = answers;
                Page::Running(Progress::default())
            }
            Err(cause) => Page::Failed {
                progress: Progress::default(),
                failure: Failure {
                    step: self.say(words::ANSWERS).to_owned(),
                    cause,
                    log: crate::execute::LOG.to_owned(),
                    changed: false,
                },
                at: 1,
            },
        };
        self
    }

    /// A text in the language of the screens.
    pub fn say(&self, word: Word) -> &'static str {
        word.of(self.language)
    }

    /// What these answers come to, were they agreed to: nothing leaves the screens before the summary.
    ///
    /// # Errors
    /// Everything that is open or wrong.
    pub fn draft(&self, answers: &Answers) -> Result<InstallPlan, Vec<Problem>> {
        plan(&agreed(answers), &self.facts, &self.manifest)
    }

    /// The language of the screens, as the plan knows it.
    pub(super) fn plan_language(&self) -> answers::Language {
        match self.language {
            Language::English => answers::Language::English,
            Language::Chinese => answers::Language::Chinese,
        }
    }

    /// Switches the language of the screens, where the terminal has its glyphs.
    pub(super) fn speak(&mut self, language: answers::Language) {
        self.language = match language {
            answers::Language::Chinese if self.look.chinese() => Language::Chinese,
            _ => Language::English,
        };
    }
}

/// The answers with the consent that the summary is there to ask for.
pub(super) fn agreed(answers: &Answers) -> Answers {
    let mut answers = answers.clone();
    answers.disk.erase = true;
    answers
}
