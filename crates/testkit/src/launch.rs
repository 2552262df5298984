//! Starting real processes that never outlive their purpose.
//!
//! A test run that is killed must leave no broker behind. The kernel does this for us: a child asks for a
//! signal at its parent's death. The request is tied to the parent *thread*, and test threads come and go,
//! so one thread of this process starts all children and lives as long as the process. `setpriv` makes the
//! request, and at the same time leaves root for the programs that refuse to run as root (PostgreSQL). A parent
//! that dies before the request was made is found by a look at the parent's pid after it.
//! The native stack is the opposite: its processes must outlive the command that starts them (`setsid`).

use std::fs::{File, OpenOptions};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a process may live.
#[derive(Debug, Clone, Copy)]
pub enum Lifetime {
    /// It gets this signal when this process ends, however this process ends.
    WithParent(Signal),
    /// It goes on in a session of its own.
    Detached,
}

/// What to start.
#[derive(Debug)]
pub struct Launch {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    user: Option<String>,
    log: PathBuf,
    lifetime: Lifetime,
}

impl Launch {
    /// A program whose output goes to the end of the file `log`.
    pub fn new(program: impl Into<PathBuf>, log: impl Into<PathBuf>, lifetime: Lifetime) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            user: None,
            log: log.into(),
            lifetime,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds environment variables to the inherited ones.
    #[must_use]
    pub fn envs(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.environment.extend(variables);
        self
    }

    /// Runs as `user`; `None` keeps the current one.
    #[must_use]
    pub fn user(mut self, user: Option<&str>) -> Self {
        self.user = user.map(str::to_owned);
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When the log can't be opened or the program can't be started.
    pub fn start(self) -> Result<Running> {
        let log = open_log(&self.log)?;
        let errors = log.try_clone().context("sharing the log file")?;
        let name = self.program.display().to_string();
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = spawn_on_keeper(command).with_context(|| format!("starting {name}"))?;
        Ok(Running { child, log: self.log })
    }

    fn command(&self) -> Command {
        let mut words: Vec<String> = Vec::new();
        if let Lifetime::Detached = self.lifetime {
            words.push("setsid".into());
        }
        words.push("setpriv".into());
        if let Some(user) = &self.user {
            words.extend([format!("--reuid={user}"), format!("--regid={user}")]);
            words.push("--init-groups".into());
        }
        match self.lifetime {
            Lifetime::WithParent(signal) => words.extend(tether(signal)),
            Lifetime::Detached => words.push("--".into()),
        }
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(&self.program).args(&self.arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if self.user.is_some() {
            // The caller's directory may be closed to the other user.
            command.current_dir("/");
        }
        command
    }
}

/// The words after `setpriv` that end what follows them with `signal` when this process ends. The thread that starts it
/// must live as long as the process.
#[must_use]
pub fn tether(signal: Signal) -> Vec<String> {
    let short = signal.as_str().trim_start_matches("SIG");
    let unless_orphaned = r#"[ "$PPID" = "$0" ] && exec "$@""#;
    let parent = std::process::id().to_string();
    [&format!("--pdeathsig={short}"), "--", "sh", "-c", unless_orphaned, &parent]
        .map(str::to_owned)
        .into()
}

/// A started child. Dropping it does not end it: the owner decides how ([`Running::stop`], [`Running::signal`]).
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Sends a signal; a process that has ended already is fine.
    pub fn signal(&self, signal: Signal) {
        let Ok(pid) = i32::try_from(self.child.id()) else {
            return;
        };
        // The only failure is "no such process", which is what the caller may be waiting for.
        kill(Pid::from_raw(pid), signal).ok();
    }

    /// The exit status, when it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        // A child that can't be asked was reaped already: report it as killed.
        self.child.try_wait().unwrap_or_else(|_| Some(ExitStatus::from_raw(libc_sigkill())))
    }

    /// Asks it to end with `signal`, and kills it when it has not within `patience`.
    pub fn stop(&mut self, signal: Signal, patience: Duration) -> Option<ExitStatus> {
        self.signal(Signal::SIGCONT);
        self.signal(signal);
        let asked = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            if asked.elapsed() > patience {
                self.signal(Signal::SIGKILL);
                return self.child.wait().ok();
            }
            pause(Duration::from_millis(5));
        }
    }

    /// The last lines of its output, for an error message.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.log, lines)
    }
}

/// The last lines of a text file; empty when it can't be read.
#[must_use]
pub fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn libc_sigkill() -> i32 {
    Signal::SIGKILL as i32
}

fn open_log(path: &Path) -> Result<File> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("creating {}", directory.display()))?;
    }
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    options.open(path).with_context(|| format!("opening {}", path.display()))
}

/// A short pause of a blocking poll loop: the state asked for is a process's end, which has no async form
/// that works in `Drop`.
#[expect(clippy::disallowed_methods, reason = "polling inside a blocking wait with a deadline")]
pub(crate) fn pause(span: Duration) {
    std::thread::sleep(span);
}

type SpawnRequest = (Command, mpsc::SyncSender<std::io::Result<Child>>);

/// The thread whose life is the process's life; see the module's story.
static KEEPER: LazyLock<mpsc::Sender<SpawnRequest>> = LazyLock::new(|| {
    let (sender, requests) = mpsc::channel::<SpawnRequest>();
    std::thread::spawn(move || {
        for (mut command, answer) in requests {
            // A caller that went away has no use for the answer.
            drop(answer.send(command.spawn()));
        }
    });
    sender
});

fn spawn_on_keeper(command: Command) -> Result<Child> {
    let (answer, reply) = mpsc::sync_channel(1);
    KEEPER.send((command, answer)).context("the thread that starts processes has ended")?;
    Ok(reply.recv().context("the thread that starts processes has ended")??)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tethered_to(parent: u32) -> std::process::Output {
        let mut words = tether(Signal::SIGKILL);
        *words.last_mut().unwrap() = parent.to_string();
        Command::new("setpriv").args(words).args(["echo", "it runs"]).output().unwrap()
    }

    #[test]
    fn what_was_orphaned_before_it_asked_for_its_signal_does_not_run() {
        let me = std::process::id();
        assert_eq!(tethered_to(me).stdout, b"it runs\n");
        let orphaned = tethered_to(me + 1);
        assert!(!orphaned.status.success());
        assert!(orphaned.stdout.is_empty());
    }
}
