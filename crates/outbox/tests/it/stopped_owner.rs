//! An owner that is stopped in the middle of its transaction can't keep the next one out.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use millrace_envelope::ConsumerGroup;
use millrace_outbox::{class_of, connect, inbox_claim};
use millrace_resilience::Class;
use millrace_testkit::{postgres, wait_until};
use uuid::Uuid;

use crate::harness::{Bench, PATIENCE, database_settings};

const GROUP: ConsumerGroup = ConsumerGroup::from_static("walks.count");
const BOUND: Duration = Duration::from_secs(1);

/// A process of its own, stopped by SIGSTOP between its inbox row and its commit. Its limit is the session's, as the
/// pool sets it, so that the server ends it however long the process sleeps.
#[tokio::test]
async fn a_process_stopped_inside_its_inbox_transaction_is_ended_by_the_database() {
    let bench = Bench::new().await;
    let id = Uuid::from_u128(1);
    let mut owner = Command::new(postgres::programs().unwrap().join("psql"))
        .arg(bench.database.app_url())
        .args(["-X", "-q", "-t", "-A"])
        .env("PGOPTIONS", format!("-c idle_in_transaction_session_timeout={}", BOUND.as_millis()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let input = owner.stdin.as_mut().unwrap();
    let insert = format!("insert into inbox values ('{id}', 'walks.count') returning message_id");
    writeln!(input, "begin; {insert};").unwrap();
    input.flush().unwrap();
    // It says itself that it has the row: on a busy machine its time is over before anybody could see it in the server.
    let mut said = String::new();
    BufReader::new(owner.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said.trim(), id.to_string());
    let stopped = Command::new("kill").args(["-STOP", &owner.id().to_string()]).status().unwrap();
    assert!(stopped.success());

    let mut settings = database_settings(&bench.database);
    settings.lock_timeout = Duration::from_millis(200);
    let pool = connect(&settings, "walks").unwrap();
    wait_until("the next owner has the message", PATIENCE, || async {
        let mut conn = pool.acquire().await.unwrap();
        match inbox_claim(&mut conn, GROUP, &[id]).await {
            Ok(new) => {
                assert_eq!(new.len(), 1);
                Ok(())
            }
            Err(error) => {
                assert_eq!(class_of(&error), Class::Transient, "{error}");
                Err(error.to_string())
            }
        }
    })
    .await;
    assert!(owner.try_wait().unwrap().is_none(), "the process has ended by itself");
    owner.kill().unwrap();
    owner.wait().unwrap();
}
