//! A poll loop that stands still for longer than its group allows.

use std::pin::pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use millrace_messaging::ConsumerEvent;
use millrace_testkit::wait_until;

use crate::harness::{Depot, GROUP, SOON, told};

/// Woken by the poll loop, on its own thread; the loop goes on when the other end is dropped.
struct Standstill(Mutex<Receiver<()>>);

impl Standstill {
    fn waker() -> (Sender<()>, Waker) {
        let (end, ended) = channel();
        (end, Waker::from(Arc::new(Self(Mutex::new(ended)))))
    }
}

impl Wake for Standstill {
    fn wake(self: Arc<Self>) {
        // An error says that it is over, and so does another wake-up that comes later.
        let _over = self.0.lock().unwrap().recv();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_loop_stands_still_is_put_out_tells_it_and_comes_back() {
    let mut depot = Depot::open(1).await;
    depot.settings.session_timeout = Duration::from_secs(2);
    depot.settings.heartbeat_interval = Duration::from_millis(300);
    depot.settings.revoke_timeout = Duration::from_millis(500);
    depot.settings.poll_interval_max = Duration::from_secs(2);
    let group = format!("{GROUP}{}", depot.namespace.group_suffix);
    let members = || async {
        let group = depot.stack.access().group(&group).await;
        group.map_or(Vec::new(), |group| group.members)
    };
    let member = depot.member(|_| async { Ok(()) });
    let mut events = member.handle.events();
    let (go_on, waker) = Standstill::waker();
    let first = {
        let mut next = pin!(events.recv());
        assert!(next.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        wait_until("it is a member", SOON, || async { !members().await.is_empty() }).await;
        wait_until("it is put out", SOON, || async {
            let members = members().await;
            if members.is_empty() { Ok(()) } else { Err(members) }
        })
        .await;
        drop(go_on);
        let Poll::Ready(told) = next.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("it was told before it stood still")
        };
        told.unwrap()
    };
    assert_eq!(first, ConsumerEvent::Assigned { partitions: vec![0] });
    depot.send(&[("p", 0)]).await;
    wait_until("it works again", SOON, || async { depot.numbers("p").starts_with(&[0]) }).await;
    let told = told(&mut events);
    assert!(told.contains(&ConsumerEvent::Evicted), "{told:?}");
    wait_until("it owns its partition", SOON, || async {
        member.handle.health().partition_count == 1
    })
    .await;
    member.leave().await;
}
