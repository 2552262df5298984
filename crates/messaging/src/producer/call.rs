//! One call of a publisher that waits: the places of its records' fates, and one wake-up when the last is known.
//!
//! A future and a wake-up per record cost more than handing the record over. Here the client's thread only writes
//! each fate into its place and counts down; whoever brings the last one wakes the publisher. A publisher that
//! stops waiting loses nothing but the answer: the records' fates are written all the same and then forgotten.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use futures::task::AtomicWaker;

use super::{PublishError, RecordPosition};

/// What became of one record.
pub(super) type Fate = Result<RecordPosition, PublishError>;

#[derive(Debug)]
pub(super) struct Call {
    /// Fates not yet known, and one more while records are still handed over.
    missing: AtomicUsize,
    // A std mutex: only the client's thread and the publisher take it, for one write.
    fates: Mutex<Vec<Option<Fate>>>,
    publisher: AtomicWaker,
}

impl Call {
    pub(super) fn new(records: usize) -> Arc<Self> {
        let mut fates = Vec::new();
        fates.resize_with(records, || None);
        Arc::new(Self {
            missing: AtomicUsize::new(records + 1),
            fates: Mutex::new(fates),
            publisher: AtomicWaker::new(),
        })
    }

    /// Notes one record's fate. Each place is written once.
    pub(super) fn settle(&self, place: usize, fate: Fate) {
        let mut fates = self.fates.lock().unwrap_or_else(PoisonError::into_inner);
        fates[place] = Some(fate);
        drop(fates);
        self.count_down();
    }

    /// Waits for all fates, which come in the order of the places.
    pub(super) async fn settled(&self) -> Vec<Fate> {
        self.count_down();
        std::future::poll_fn(|context| {
            self.publisher.register(context.waker());
            match self.missing.load(Ordering::Acquire) {
                0 => Poll::Ready(()),
                _ => Poll::Pending,
            }
        })
        .await;
        let fates = std::mem::take(&mut *self.fates.lock().unwrap_or_else(PoisonError::into_inner));
        fates.into_iter().map(|fate| fate.unwrap_or(Err(PublishError::Closed))).collect()
    }

    fn count_down(&self) {
        if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.publisher.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Wake};

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_call_of_many_records_wakes_its_publisher_once() {
        let call = Call::new(1000);
        let wakes = Arc::new(Wakes::default());
        let waker = Arc::clone(&wakes).into();
        let mut context = Context::from_waker(&waker);
        let mut settled = pin!(call.settled());
        assert!(settled.as_mut().poll(&mut context).is_pending());
        for place in (0..1000).rev() {
            assert_eq!(wakes.0.load(Ordering::SeqCst), 0);
            let offset = i64::try_from(place).unwrap();
            call.settle(place, Ok(RecordPosition { partition: 0, offset }));
        }
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
        let Poll::Ready(fates) = settled.poll(&mut context) else { panic!("all is known") };
        let offsets: Vec<i64> = fates.into_iter().map(|fate| fate.unwrap().offset).collect();
        assert_eq!(offsets, (0..1000).collect::<Vec<i64>>());
    }

    #[test]
    fn a_call_without_records_has_nothing_to_wait_for() {
        assert!(futures::executor::block_on(Call::new(0).settled()).is_empty());
    }
}
