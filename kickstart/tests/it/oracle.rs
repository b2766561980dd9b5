//! pykickstart itself, as a process that answers questions.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use kickstart::Version;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The version whose word counts.
const RELEASE: &str = "3.78";

/// One process; every test has its own, and tests ask it many questions.
pub(crate) struct Oracle {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// `ksvalidator` leaves a file behind for every text that it reads.
    _temporary: TempDir,
}

impl Oracle {
    pub(crate) fn start() -> Self {
        let temporary = tempfile::tempdir().expect("a folder can be made");
        let python = environment().join("bin/python");
        let mut child = Command::new(python)
            .arg("-u")
            .arg("tests/it/driver.py")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("TMPDIR", temporary.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("pykickstart's Python starts");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("its answers are read"));
        Self { child, input, output, _temporary: temporary }
    }

    /// Asks many questions at once, and returns the answers in their order.
    pub(crate) fn ask(&mut self, questions: &[Value]) -> Vec<Value> {
        let Self { input, output, .. } = self;
        let input = input.as_mut().expect("it is asked while it runs");
        std::thread::scope(|scope| {
            // In a thread, because answers begin before the last question is written.
            scope.spawn(move || {
                for question in questions {
                    writeln!(input, "{question}").expect("it reads questions");
                }
                input.flush().expect("it reads questions");
            });
            questions
                .iter()
                .map(|question| {
                    let mut line = String::new();
                    output.read_line(&mut line).expect("it answers");
                    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{question}: {line}: {error}"))
                })
                .collect()
        })
    }

    /// What it says about one text.
    pub(crate) fn about(&mut self, ask: &str, version: Version, text: &str) -> Value {
        let question = json!({"ask": ask, "version": version.name(), "text": text});
        self.ask(&[question]).remove(0)
    }

    /// Fails unless `ksvalidator -v VERSION` has nothing to complain about.
    pub(crate) fn must_validate(&mut self, version: Version, text: &str) {
        let answer = self.about("validate", version, text);
        assert_eq!(answer["accepted"], true, "ksvalidator -v {version}: {}\n{text}", answer["error"]);
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // It ends when there are no more questions.
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// A folder with Python and pykickstart, made when it is first needed and kept for the next time.
fn environment() -> PathBuf {
    let home = std::env::var("HOME").expect("HOME says where caches are");
    let cache = Path::new(&home).join(".cache/zstack");
    fs::create_dir_all(&cache).unwrap_or_else(|error| panic!("{}: {error}", cache.display()));
    let folder = cache.join(format!("pykickstart-{RELEASE}"));
    // Tests run at the same time: the first one makes it while the others wait.
    let lock = File::create(cache.join(format!("pykickstart-{RELEASE}.lock"))).expect("the cache can be written");
    lock.lock().expect("the cache can be locked");
    let done = folder.join("complete");
    if !done.exists() {
        let _ = fs::remove_dir_all(&folder);
        run(
            Command::new("python3").args(["-m", "venv"]).arg(&folder),
            "a Python environment could not be made; on Debian this needs the packages python3 and python3-venv",
        );
        run(
            Command::new(folder.join("bin/python"))
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
                .arg(format!("pykickstart=={RELEASE}")),
            "pykickstart could not be installed; this needs a package index that pip can reach",
        );
        File::create(done).expect("the cache can be written");
    }
    folder
}

fn run(command: &mut Command, failed: &str) {
    let output = command.output().unwrap_or_else(|error| panic!("{failed}: {command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{failed}: {command:?}: {said}");
}
