//! Records that nobody should have written: each leaves for the dead-letter topic with its bytes untouched, and what lies
//! behind it is handled.

use millrace_runtime::Clock;
use millrace_testkit::{LogEntry, RawOutgoing, Stack, TestTopics, TopicSpec, wait_until};

use crate::harness::{Depot, GROUP, SOON, TOPIC, patient_producer, record};

/// Room for a header of a megabyte.
const RECORD_BYTES_MAX: &str = "4194304";

struct Heap {
    depot: Depot,
    _topics: TestTopics,
}

impl Heap {
    async fn open() -> Self {
        let stack = Stack::shared().await;
        let mut depot = Depot::closed(stack, stack.namespace());
        let dead = TOPIC.dead_letter(GROUP);
        let specs = [TOPIC.as_str(), dead.as_str()]
            .map(|name| TopicSpec::new(name, 1).with("max.message.bytes", RECORD_BYTES_MAX));
        let topics = stack.topics(&depot.namespace, &specs).await;
        depot.settings.message_bytes_max = "2MiB".parse().unwrap();
        depot.producer = patient_producer(&depot.settings);
        Self { depot, _topics: topics }
    }

    async fn write(&self, garbage: &RawOutgoing) {
        let access = self.depot.stack.access();
        access.write_raw(&self.depot.topic(), 0, std::slice::from_ref(garbage)).await;
    }

    /// The letters, as soon as there are so many; one more is a failure as well.
    async fn letters_of(&self, count: usize) -> Vec<LogEntry> {
        wait_until("the letters are written", SOON, || async {
            let letters = self.letters().await;
            if letters.len() < count { Err(letters.len()) } else { Ok(()) }
        })
        .await;
        let letters = self.letters().await;
        assert_eq!(letters.len(), count);
        letters
    }

    async fn letters(&self) -> Vec<LogEntry> {
        let mut log = self.depot.stack.access().log(&self.depot.dead_letter_topic(), 0).await;
        // A letter that was written in a transaction is followed by a marker.
        log.retain(|entry| !entry.control && !entry.aborted);
        log
    }
}

fn garbage(payload: Option<&[u8]>) -> RawOutgoing {
    RawOutgoing {
        key: Some(b"p".to_vec()),
        payload: payload.map(<[u8]>::to_vec),
        headers: Vec::new(),
        timestamp_ms: Clock::system().now_ms(),
    }
}

fn wire(event_type: &str, version: &str, payload: &str) -> String {
    let id = uuid::Uuid::now_v7();
    format!(
        r#"{{"id":"{id}","type":"{event_type}","version":{version},"source":"s","timestamp":1,"payload":{payload}}}"#
    )
}

/// Everything that must end in a dead letter, with a word on what it is.
fn heap() -> Vec<(&'static str, RawOutgoing)> {
    let good = record("p", 0).payload.unwrap();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let texts = [
        ("an empty value", String::new()),
        ("no JSON", "parcel".to_owned()),
        ("half of a JSON", String::from_utf8(good[..good.len() / 2].to_vec()).unwrap()),
        ("another JSON", "[1,2,3]".to_owned()),
        ("JSON deeper than any stack", deep),
        ("a version of the future", wire("parcel.sent", "9", "{}")),
        ("a version that is none", wire("parcel.sent", "-1", "{}")),
        ("a payload of another shape", wire("parcel.sent", "1", r#"{"parcel_id":7}"#)),
        ("a key twice", wire("parcel.sent", "1", r#"{"number":1,"number":2,"parcel_id":"p"}"#)),
    ];
    let mut heap: Vec<(&'static str, RawOutgoing)> =
        texts.into_iter().map(|(what, text)| (what, garbage(Some(text.as_bytes())))).collect();
    heap.push(("bytes that are no text", garbage(Some(&[0xff, 0x00, 0xfe]))));
    heap.push(("a null value", garbage(None)));
    heap.push(("a null key, too", RawOutgoing { key: None, ..garbage(None) }));
    heap
}

#[tokio::test]
async fn a_heap_of_garbage_is_dead_lettered_in_order_and_what_lies_between_is_handled() {
    let heap = heap();
    let site = Heap::open().await;
    let member = site.depot.member(|_| async { Ok(()) });
    for (number, (_, garbage)) in (0..).zip(&heap) {
        site.write(garbage).await;
        site.depot.send(&[("p", number)]).await;
    }
    let expected: Vec<u32> = (0..u32::try_from(heap.len()).unwrap()).collect();
    wait_until("what lies between is done", SOON, || async {
        let numbers = site.depot.numbers("p");
        if numbers == expected { Ok(()) } else { Err(numbers) }
    })
    .await;
    let letters = site.letters_of(heap.len()).await;
    // Those of one key are in order; one without a key is in nobody's.
    for keyed in [true, false] {
        let letters: Vec<_> = letters.iter().filter(|l| l.key.is_some() == keyed).collect();
        let heap: Vec<_> = heap.iter().filter(|(_, g)| g.key.is_some() == keyed).collect();
        assert_eq!(letters.len(), heap.len());
        for (letter, (what, garbage)) in letters.iter().zip(heap) {
            assert_eq!(letter.payload, garbage.payload, "{what}");
            assert_eq!(letter.key, garbage.key, "{what}");
        }
    }
    committed_to_the_end(&site).await;
    member.leave().await;
}

#[tokio::test]
async fn a_header_whose_name_is_not_utf_8_is_carried_with_a_readable_name_and_its_value() {
    let site = Heap::open().await;
    let member = site.depot.member(|_| async { Ok(()) });
    let strange = vec![
        (vec![0xff, 0xfe], Some(b"strange".to_vec())),
        (b"null".to_vec(), None),
        (b"twice".to_vec(), Some(vec![1])),
        (b"twice".to_vec(), Some(vec![2])),
    ];
    site.write(&RawOutgoing { headers: strange.clone(), ..garbage(Some(b"?")) }).await;
    site.depot.send(&[("p", 1)]).await;
    wait_until("the one behind it is done", SOON, || async { site.depot.numbers("p") == [1] })
        .await;
    let letters = site.letters_of(1).await;
    assert_eq!(letters[0].payload.as_deref(), Some(&b"?"[..]));
    // The protocol has no such names; Java's client reads them with the same replacement character.
    let mut readable = strange;
    readable[0].0 = "\u{fffd}\u{fffd}".as_bytes().to_vec();
    for header in &readable {
        assert!(letters[0].headers.contains(header), "{header:?} is missing: {:?}", letters[0]);
    }
    committed_to_the_end(&site).await;
    member.leave().await;
}

#[tokio::test]
async fn an_event_with_a_strange_header_is_an_event_all_the_same_or_a_dead_letter() {
    let site = Heap::open().await;
    let member = site.depot.member(|_| async { Ok(()) });
    let payload = record("p", 0).payload;
    let headers = vec![(vec![0xc3, 0x28], Some(b"v".to_vec()))];
    site.write(&RawOutgoing { headers, payload, ..garbage(None) }).await;
    site.depot.send(&[("p", 1)]).await;
    wait_until("the one behind it is done", SOON, || async {
        site.depot.numbers("p").ends_with(&[1])
    })
    .await;
    committed_to_the_end(&site).await;
    let handled = site.depot.numbers("p") == [0, 1];
    assert_eq!(site.letters().await.len(), usize::from(!handled), "one way or the other, once");
    member.leave().await;
}

#[tokio::test]
async fn a_header_of_a_megabyte_is_carried_where_it_fits() {
    let site = Heap::open().await;
    let member = site.depot.member(|_| async { Ok(()) });
    let large = (b"large".to_vec(), Some(vec![7; 1 << 20]));
    let payload = record("p", 0).payload;
    // Once on an event and once on garbage.
    site.write(&RawOutgoing { headers: vec![large.clone()], payload, ..garbage(None) }).await;
    site.write(&RawOutgoing { headers: vec![large.clone()], ..garbage(Some(b"?")) }).await;
    site.depot.send(&[("p", 1)]).await;
    wait_until("the events are done", SOON, || async { site.depot.numbers("p") == [0, 1] }).await;
    let letters = site.letters_of(1).await;
    assert!(letters[0].headers.contains(&large), "the header went with it");
    committed_to_the_end(&site).await;
    member.leave().await;
}

#[tokio::test]
async fn a_record_too_large_for_the_dead_letter_topic_holds_its_place_and_is_never_dropped() {
    let mut site = Heap::open().await;
    // The letter can't be published: neither its record nor what the limit allows would be whole.
    site.depot.settings.message_bytes_max = "64KiB".parse().unwrap();
    site.depot.producer = patient_producer(&site.depot.settings);
    let large = vec![b'x'; 1 << 20];
    site.write(&garbage(Some(&large))).await;
    site.depot.send(&[("p", 1)]).await;
    let member = site.depot.member(|_| async { Ok(()) });
    wait_until("its fate is known", SOON, || async {
        let letters = site.letters().await;
        let buried = letters.iter().any(|letter| letter.payload.as_ref() == Some(&large));
        let waits =
            site.depot.committed(0).await.unwrap_or(0) == 0 && member.handle.health().lag > 0;
        if buried {
            Ok("buried whole")
        } else if waits {
            Ok("held")
        } else {
            Err(letters.len())
        }
    })
    .await;
    if site.letters().await.is_empty() {
        assert_eq!(site.depot.committed(0).await.unwrap_or(0), 0, "it is not passed over");
    }
    member.leave().await;
}

/// The group's offset reaches the end of the log, so nothing is read again for ever.
async fn committed_to_the_end(site: &Heap) {
    let end = site.depot.stack.access().log_end(&site.depot.topic(), 0).await.unwrap();
    wait_until("all is committed", SOON, || async {
        let committed = site.depot.committed(0).await;
        if committed == Some(end) { Ok(()) } else { Err((committed, end)) }
    })
    .await;
}
