//! A drill in a few lines.

use std::time::Duration;

use millrace_checker::Report;
use millrace_drills::arena::{Arena, End, Member, Shape};
use millrace_testkit::Stack;

/// In a drill that is to lose something, nothing comes any more when nothing has moved for so long. Longer than a
/// session and the transaction of a member that was killed inside it.
const QUIET: Duration = Duration::from_secs(7);
/// What is waited for comes in the end, however slow the machine is; who hopes in vain for longer has found a defect.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn arena(shape: Shape) -> Arena<'static> {
    // The path that the conductor takes its members from is this program's own target directory; naming the binary
    // makes cargo build it.
    let built = std::path::Path::new(env!("CARGO_BIN_EXE_messaging-drill"));
    assert!(built.is_file(), "{} was not built", built.display());
    let seed = uuid::Uuid::now_v7().as_u64_pair().1 % 1_000_000;
    println!("seed {seed} for {shape:?}");
    // The sums of a drill close only when it is known of each record whether it is there.
    let shape = Shape { acknowledge_limit: PATIENCE, ..shape };
    Arena::open(Stack::shared().await, seed, shape).await.unwrap()
}

/// Waits for the end of a drill that loses something, stops the members and prints the verdict.
pub(crate) async fn finish_badly(arena: &Arena<'_>, members: Vec<Member>) -> Report {
    finish(arena, members, QUIET).await.1
}

async fn finish(arena: &Arena<'_>, members: Vec<Member>, quiet: Duration) -> (End, Report) {
    let end = arena.ended(quiet, PATIENCE).await.unwrap();
    if end != End::Complete {
        for member in &members {
            println!("--- {} said:\n{}", member.name, member.process.output());
        }
    }
    arena.stop_all(members).await.unwrap();
    let report = arena.judge().await.unwrap();
    println!("{end:?}\n{report}{}", report.verdict(arena.seed()));
    (end, report)
}

/// Waits for the end of a drill that must end well.
pub(crate) async fn finish_well(arena: &Arena<'_>, members: Vec<Member>) -> Report {
    let (end, report) = finish(arena, members, PATIENCE).await;
    assert!(report.ok(), "{end:?}\n{report}{}", report.verdict(arena.seed()));
    assert_eq!(end, End::Complete, "{}", report.verdict(arena.seed()));
    report
}
