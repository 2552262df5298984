//! Ways to break a promise on purpose, so that the drills can show that a broken promise is seen.
//!
//! A checker that finds nothing proves little until it has found something. Each [`Switch`] takes away one guarantee
//! at the one place that holds it, and each [`CrashPoint`] ends the process by SIGKILL between two steps that must not
//! come apart. Both are armed at run time and by the process itself ([`arm`] is called from a drill member's
//! arguments, never from settings), so what is tested is the build that `make test` makes anyway.
//! In a build without debug assertions all of it is gone: [`on`] is the constant `false`, [`crash_point`] is empty,
//! and [`arm`] refuses, so that no release can be talked into losing a message.

#[cfg(debug_assertions)]
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// One guarantee that can be taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Switch {
    /// A record counts as finished when it is handed over, before its handler is done.
    StoreOffsetEarly,
    /// A handler's transaction takes every message for new.
    SkipInbox,
    /// A sink without an inbox writes whatever epoch it was handed.
    DropEpochCheck,
    /// Events go to the broker before the transaction that they belong to commits.
    PublishBeforeCommit,
    /// A revoked partition's records are still started and committed.
    IgnoreRevoke,
    /// Records of one key run side by side.
    IgnoreKeyOrder,
    /// The map in the commit metadata says that records above the committed offset are done which are not.
    DropOffsetMapHoles,
    /// A record whose retry or dead letter could not be published is settled all the same.
    SettleFailedLetter,
    /// The relay deletes an outbox row before the broker has acknowledged it.
    DeleteBeforeAck,
    /// Retries and dead letters are published outside the transaction that commits their source offset.
    NoTransaction,
    /// A transaction under a lease begins without the proof of its token.
    LeaseSkipFence,
    /// Work goes on after its lease was lost.
    LeaseKeepAfterLoss,
    /// A lost or foreign counter of tokens is begun anew without a number from the database.
    LeaseForgetIncarnation,
    /// A lease is renewed whether or not its work gets on.
    LeaseRenewWithoutProgress,
    /// A holder gives back the lease whoever has it.
    LeaseReleaseOthers,
    /// A due task is dispatched by whoever looks, also when its occurrence exists already.
    ScheduleSkipUnique,
    /// A worker takes an occurrence that has ended.
    ScheduleSkipInbox,
    /// A run writes although its occurrence was ended or taken over.
    ScheduleIgnoreTermination,
}

/// A place between two steps where a process may die.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CrashPoint {
    /// A handler has returned; nothing that follows from it has happened.
    AfterHandle,
    /// A retry, a dead letter or an outbox row is about to be published.
    BeforePublish,
    /// It was acknowledged; whoever had it doesn't know yet.
    AfterPublish,
    /// A transaction of the handler is about to commit.
    BeforeStateCommit,
    /// It is committed; the runtime doesn't know yet.
    AfterStateCommit,
    /// Offsets are about to be committed.
    BeforeOffsetCommit,
    /// They are committed.
    AfterOffsetCommit,
}

impl Switch {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 18] = [
        Self::StoreOffsetEarly,
        Self::SkipInbox,
        Self::DropEpochCheck,
        Self::PublishBeforeCommit,
        Self::IgnoreRevoke,
        Self::IgnoreKeyOrder,
        Self::DropOffsetMapHoles,
        Self::SettleFailedLetter,
        Self::DeleteBeforeAck,
        Self::NoTransaction,
        Self::LeaseSkipFence,
        Self::LeaseKeepAfterLoss,
        Self::LeaseForgetIncarnation,
        Self::LeaseRenewWithoutProgress,
        Self::LeaseReleaseOthers,
        Self::ScheduleSkipUnique,
        Self::ScheduleSkipInbox,
        Self::ScheduleIgnoreTermination,
    ];

    /// What [`arm`] calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::StoreOffsetEarly => "store-offset-early",
            Self::SkipInbox => "skip-inbox",
            Self::DropEpochCheck => "drop-epoch-check",
            Self::PublishBeforeCommit => "publish-before-commit",
            Self::IgnoreRevoke => "ignore-revoke",
            Self::IgnoreKeyOrder => "ignore-key-order",
            Self::DropOffsetMapHoles => "drop-offset-map-holes",
            Self::SettleFailedLetter => "settle-failed-letter",
            Self::DeleteBeforeAck => "delete-before-ack",
            Self::NoTransaction => "no-transaction",
            Self::LeaseSkipFence => "lease-skip-fence",
            Self::LeaseKeepAfterLoss => "lease-keep-after-loss",
            Self::LeaseForgetIncarnation => "lease-forget-incarnation",
            Self::LeaseRenewWithoutProgress => "lease-renew-without-progress",
            Self::LeaseReleaseOthers => "lease-release-others",
            Self::ScheduleSkipUnique => "schedule-skip-unique",
            Self::ScheduleSkipInbox => "schedule-skip-inbox",
            Self::ScheduleIgnoreTermination => "schedule-ignore-termination",
        }
    }
}

impl CrashPoint {
    /// All of them, in the order in which a record meets them.
    pub const ALL: [Self; 7] = [
        Self::AfterHandle,
        Self::BeforePublish,
        Self::AfterPublish,
        Self::BeforeStateCommit,
        Self::AfterStateCommit,
        Self::BeforeOffsetCommit,
        Self::AfterOffsetCommit,
    ];

    /// What [`arm`] calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AfterHandle => "after-handle",
            Self::BeforePublish => "before-publish",
            Self::AfterPublish => "after-publish",
            Self::BeforeStateCommit => "before-state-commit",
            Self::AfterStateCommit => "after-state-commit",
            Self::BeforeOffsetCommit => "before-offset-commit",
            Self::AfterOffsetCommit => "after-offset-commit",
        }
    }
}

/// Why nothing was armed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArmError {
    /// No switch and no crash point has this name.
    #[error("there is no switch and no crash point `{0}`")]
    Unknown(String),
    /// The number behind the colon is no pass.
    #[error("`{0}` names no pass: passes count from 1")]
    Pass(String),
    /// Release builds can't be sabotaged.
    #[error("this build has neither switches nor crash points")]
    Absent,
}

#[cfg(debug_assertions)]
static SWITCHES: [AtomicBool; Switch::ALL.len()] =
    [const { AtomicBool::new(false) }; Switch::ALL.len()];

/// Passes that are left until the crash; zero is disarmed.
#[cfg(debug_assertions)]
static PASSES: [AtomicU32; CrashPoint::ALL.len()] =
    [const { AtomicU32::new(0) }; CrashPoint::ALL.len()];

/// True when this guarantee was taken away from the whole process.
#[cfg(debug_assertions)]
#[must_use]
#[inline]
pub fn on(switch: Switch) -> bool {
    SWITCHES[switch as usize].load(Ordering::Relaxed)
}

/// True when this guarantee was taken away from the whole process: never, in this build.
#[cfg(not(debug_assertions))]
#[must_use]
#[inline(always)]
pub const fn on(_: Switch) -> bool {
    false
}

/// Arms what `what` names, for the whole process and until its end: a switch (`skip-inbox`), a crash point
/// (`after-publish`), or a crash point at its nth pass (`after-publish:3`).
///
/// # Errors
/// When there is nothing of that name, or this is a release build.
#[cfg(debug_assertions)]
pub fn arm(what: &str) -> Result<(), ArmError> {
    if let Some(switch) = Switch::ALL.into_iter().find(|switch| switch.name() == what) {
        SWITCHES[switch as usize].store(true, Ordering::Relaxed);
        return Ok(());
    }
    let (name, pass) = match what.split_once(':') {
        None => (what, 1),
        Some((name, pass)) => {
            let counted = pass.parse().ok().filter(|pass| *pass > 0);
            (name, counted.ok_or_else(|| ArmError::Pass(what.to_owned()))?)
        }
    };
    let point = CrashPoint::ALL.into_iter().find(|point| point.name() == name);
    let point = point.ok_or_else(|| ArmError::Unknown(what.to_owned()))?;
    PASSES[point as usize].store(pass, Ordering::Relaxed);
    Ok(())
}

/// Arms nothing: this build has neither switches nor crash points.
///
/// # Errors
/// Always.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn arm(_: &str) -> Result<(), ArmError> {
    Err(ArmError::Absent)
}

/// Ends the process by SIGKILL when the point is armed and this is the pass that was asked for.
#[cfg(debug_assertions)]
#[inline]
pub fn crash_point(point: CrashPoint) {
    if last_pass(point) {
        die();
    }
}

/// Does nothing in this build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub const fn crash_point(_: CrashPoint) {}

/// Counts one pass; true for the one that was asked for.
#[cfg(debug_assertions)]
fn last_pass(point: CrashPoint) -> bool {
    let passes = &PASSES[point as usize];
    // The load first: an unarmed point costs no write on a path that every record takes.
    passes.load(Ordering::Relaxed) > 0
        && passes.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            == Ok(1)
}

/// No destructor runs and no buffer is flushed: what the kernel does to a process that runs out of memory.
#[cfg(debug_assertions)]
fn die() -> ! {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    // Whoever can't be killed must not go on either.
    kill(Pid::this(), Signal::SIGKILL).ok();
    std::process::abort()
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    // State is the process': each test arms what no other one looks at.

    #[test]
    fn a_switch_is_off_until_it_is_armed_by_name() {
        assert!(!on(Switch::NoTransaction));
        assert!(arm("no-transaction").is_ok());
        assert!(on(Switch::NoTransaction));
        assert!(!on(Switch::SkipInbox));
    }

    #[test]
    fn an_unarmed_point_is_passed_and_an_armed_one_counts_down_to_its_pass() {
        crash_point(CrashPoint::AfterHandle);
        assert!(!last_pass(CrashPoint::AfterPublish));
        assert!(arm("after-publish:3").is_ok());
        let passes: Vec<bool> = (0..5).map(|_| last_pass(CrashPoint::AfterPublish)).collect();
        assert_eq!(passes, [false, false, true, false, false]);
    }

    #[test]
    fn names_that_mean_nothing_are_refused() {
        assert_eq!(arm("skip-inbux"), Err(ArmError::Unknown("skip-inbux".into())));
        assert_eq!(arm("skip-inbox:1"), Err(ArmError::Unknown("skip-inbox:1".into())));
        assert_eq!(arm("before-publish:0"), Err(ArmError::Pass("before-publish:0".into())));
        assert_eq!(arm("before-publish:x"), Err(ArmError::Pass("before-publish:x".into())));
    }

    #[test]
    fn every_name_is_its_own_and_stands_at_its_index() {
        for (index, switch) in Switch::ALL.into_iter().enumerate() {
            assert_eq!(switch as usize, index);
        }
        for (index, point) in CrashPoint::ALL.into_iter().enumerate() {
            assert_eq!(point as usize, index);
        }
        let names = Switch::ALL.map(Switch::name).into_iter();
        let names: std::collections::BTreeSet<&str> =
            names.chain(CrashPoint::ALL.map(CrashPoint::name)).collect();
        assert_eq!(names.len(), Switch::ALL.len() + CrashPoint::ALL.len());
    }

    #[test]
    fn an_armed_point_kills_the_process_that_passes_it() {
        use std::os::unix::process::ExitStatusExt as _;

        const CHILD: &str = "MILLRACE_SABOTAGE_TEST_CHILD";
        #[expect(clippy::disallowed_methods, reason = "a test program has no settings of its own")]
        if std::env::var(CHILD).is_ok() {
            assert!(arm("before-offset-commit").is_ok());
            crash_point(CrashPoint::BeforeOffsetCommit);
            panic!("the crash point was survived");
        }
        let this_test = std::env::current_exe().unwrap();
        let status = std::process::Command::new(this_test)
            .args(["sabotage::tests::an_armed_point_kills_the_process_that_passes_it", "--exact"])
            .env(CHILD, "1")
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert_eq!(status.signal(), Some(9));
    }
}
