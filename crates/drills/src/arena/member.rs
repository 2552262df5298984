//! Member processes: started, killed, frozen, stopped.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use millrace_checker::What;
use millrace_testkit::{Process, try_wait_until};
use nix::sys::signal::Signal;

use super::Arena;
use super::shape::{DATABASE, SESSION_US};
use super::watch::Watch;
use crate::process::{keep_output, still_runs, stopped};

/// How long a member may take to stop in the orderly way.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// How long it may take until a process stands still.
const FREEZE_LIMIT: Duration = Duration::from_secs(5);

/// A member process of a drill. Dropping it kills it.
#[derive(Debug)]
pub struct Member {
    /// Its name in notes and rows.
    pub name: String,
    /// The process.
    pub process: Process,
}

/// A member that stands still.
#[derive(Debug)]
#[must_use = "a frozen member goes on only when it is thawed"]
pub struct Frozen {
    /// Its name.
    pub name: String,
    since_us: i64,
}

impl Arena<'_> {
    /// Starts a member with these arguments beside the shape's.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(&self, arguments: &[&str]) -> Result<Member> {
        let name = self.next_name();
        let mut all = vec!["member".to_owned()];
        let mut pair = |name: &str, value: String| all.extend([name.to_owned(), value]);
        pair("--name", name.clone());
        pair("--notes", self.notes_file(&name).display().to_string());
        pair("--seed", self.seed.to_string());
        pair("--sink", word(self.shape.sink));
        pair("--protocol", word(self.shape.protocol));
        pair("--mode", word(self.shape.mode));
        for text in self.shape.kafka(self.stack, &self.namespace) {
            pair("--kafka", text);
        }
        if let Some(database) = &self.database {
            let own = database.env("").into_iter();
            let own = own.map(|(key, value)| {
                let key = key.trim_start_matches("__DATABASE__").to_owned();
                format!("{key}={value}")
            });
            for text in own.chain(DATABASE.map(str::to_owned)) {
                pair("--database", text);
            }
        }
        all.extend(self.shape.fates.arguments());
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let words: Vec<&str> = all.iter().map(String::as_str).collect();
        let process = Process::start_with("messaging-drill", &words, [])?;
        Ok(Member { name, process })
    }

    /// How many records handlers of this member have begun.
    ///
    /// # Errors
    /// When the notes can't be read.
    pub fn begun_by(&self, member: &Member) -> Result<usize> {
        let mut watch = Watch::default();
        watch.look(self.directory())?;
        Ok(watch.started.get(&member.name).copied().unwrap_or(0))
    }

    /// Ends a member as a power cut would.
    ///
    /// # Errors
    /// When it had ended by itself.
    pub fn kill(&self, member: Member) -> Result<()> {
        let ran = still_runs(&member.name, &member.process);
        // What it noted until it was gone stands behind this note or before it; what it committed does not matter by then.
        let at_us = self.notes.now_us();
        member.process.kill_9();
        keep_output(self.directory(), &member.name, &member.process);
        self.notes.note_at(at_us, What::Ended { member: member.name });
        ran
    }

    /// Waits for a member that kills itself at a crash point.
    ///
    /// # Errors
    /// When it lives on, or ended in another way.
    pub async fn crashed(&self, member: Member, patience: Duration) -> Result<()> {
        let status = try_wait_until(patience, || async { member.process.exited() }).await;
        let status = status.map_err(|_| anyhow::anyhow!("{} lives on", member.name))?;
        self.notes.note(What::Ended { member: member.name.clone() });
        anyhow::ensure!(
            status.signal() == Some(Signal::SIGKILL as i32),
            "{} ended with {status}:\n{}",
            member.name,
            member.process.output()
        );
        Ok(())
    }

    /// Freezes a member until [`Arena::thaw`]. On a busy machine it may go on for a while before the signal arrives:
    /// what counts is when the kernel says that it stands still.
    ///
    /// # Errors
    /// When it doesn't.
    pub async fn freeze(&self, member: &Member) -> Result<Frozen> {
        member.process.sigstop();
        self.frozen(member, FREEZE_LIMIT).await
    }

    /// Waits until a member has frozen itself.
    ///
    /// # Errors
    /// When it doesn't.
    pub async fn frozen(&self, member: &Member, patience: Duration) -> Result<Frozen> {
        let stopped = try_wait_until(patience, || async { stopped(member.process.pid()) }).await;
        stopped.map_err(|last| {
            let (name, output) = (&member.name, member.process.output());
            let ended = still_runs(name, &member.process).err();
            ended.unwrap_or_else(|| anyhow::anyhow!("{name} doesn't stand still: {last}\n{output}"))
        })?;
        Ok(Frozen { name: member.name.clone(), since_us: self.notes.now_us() })
    }

    /// Waits until a frozen member's session is over by the clock that [`Arena::thaw`] judges by. Others may own its
    /// partitions a little earlier: the broker counts from its last heartbeat.
    pub async fn past_session(&self, frozen: &Frozen) {
        let left_us = (frozen.since_us + SESSION_US - self.notes.now_us()).max(0);
        tokio::time::sleep(Duration::from_micros(left_us.unsigned_abs())).await;
    }

    /// Lets a frozen member go on. It is a zombie when its session was over by then; one that lost its partitions to a
    /// shorter pause is told so, and notes it itself.
    pub fn thaw(&self, member: &Member, Frozen { name, since_us }: Frozen) {
        if self.notes.now_us() - since_us >= SESSION_US {
            self.notes.note_at(since_us, What::Zombie { member: name });
        }
        member.process.sigcont();
    }

    /// Asks a member to stop and waits until it has.
    ///
    /// # Errors
    /// When it doesn't in time, or fails at it.
    pub async fn stop(&self, member: Member) -> Result<()> {
        member.process.sigterm();
        let status = try_wait_until(STOP_LIMIT, || async { member.process.exited() }).await;
        let status = status.map_err(|_| {
            anyhow::anyhow!("{} didn't stop:\n{}", member.name, member.process.output())
        })?;
        keep_output(self.directory(), &member.name, &member.process);
        self.notes.note(What::Ended { member: member.name.clone() });
        // Without a word to SIGTERM ends only who hasn't begun: listening is the first thing that a member does.
        let unborn = status.signal() == Some(Signal::SIGTERM as i32);
        anyhow::ensure!(
            status.success() || unborn,
            "{} stopped with {status}:\n{}",
            member.name,
            member.process.output()
        );
        Ok(())
    }

    /// Kills the broker and starts it again; the stack must be the drill's own.
    ///
    /// # Errors
    /// When it doesn't come back.
    pub async fn kill_broker(&self) -> Result<()> {
        self.stack.kafka().restart().await
    }

    /// Stops all of them at once.
    ///
    /// # Errors
    /// When one doesn't stop.
    pub async fn stop_all(&self, members: Vec<Member>) -> Result<()> {
        for member in &members {
            member.process.sigcont();
            member.process.sigterm();
        }
        for member in members {
            let name = member.name.clone();
            self.stop(member).await.with_context(|| format!("stopping {name}"))?;
        }
        Ok(())
    }
}

/// An argument's word for a value.
fn word(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
