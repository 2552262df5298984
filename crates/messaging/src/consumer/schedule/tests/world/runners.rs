//! What runners do: they take calls, settle them with the fates that were drawn, and publish letters.

use super::*;

impl World {
    pub(super) fn take(&mut self) -> bool {
        let (open, flooded) = (self.open_calls().count(), self.flooded());
        let probed = self.open_calls().any(|call| call.probe);
        let ready = self.schedule.ready();
        let Some(work) = self.schedule.take(self.now) else {
            assert_eq!(ready, 0, "what is said to be ready can be taken");
            return false;
        };
        assert!(!self.paused && open < self.concurrency, "no call above the bound");
        assert!(!(flooded && probed), "one at a time in a flood, beside those from before it");
        assert!(!work.items.is_empty());
        assert!(work.items.len() <= self.portion.records);
        let lanes: BTreeSet<LaneId> = work.items.iter().map(|(lane, _)| *lane).collect();
        assert!(lanes.len() <= self.portion.lanes);
        assert!(work.items.is_sorted_by_key(|(_, item)| item.offset), "in the partition's order");
        let bytes: usize = work.items.iter().map(|(_, item)| item.bytes).sum();
        assert!(work.items.len() == 1 || bytes <= self.portion.bytes, "{bytes}");
        if self.flooded() || work.items.iter().any(|(_, item)| item.alone || item.failures > 0) {
            assert_eq!(work.items.len(), 1, "who failed speaks for itself");
        }
        let now = self.now;
        let tenant = self.tenant(work.tenure).expect("only what is owned is handed over");
        assert!(tenant.open && !tenant.leaving);
        for (lane, item) in &work.items {
            let first = tenant.unfinished().find(|(_, record)| {
                record.lane == *lane && record.place != Place::InCall(work.call)
            });
            // The oldest of its lane, all others of which wait: no other call or letter has one.
            let (first, _) = first.expect("handed over means unfinished");
            assert_eq!(first, item.offset, "in the order of its lane");
            let others = tenant.unfinished().filter(|(_, record)| record.lane == *lane);
            for (_, other) in others {
                assert!(
                    matches!(other.place, Place::Waits) || other.place == Place::InCall(work.call),
                    "one call at a time has records of a lane: {other:?}"
                );
            }
            let record = tenant.records.get_mut(&item.offset).unwrap();
            assert_eq!(record.place, Place::Waits, "not handed over twice without a return");
            assert!(record.not_before <= now, "not before it is due");
            (record.place, record.known) = (Place::InCall(work.call), true);
        }
        self.calls.push(Open { work, probe: flooded, finished_early: BTreeSet::new() });
        true
    }

    pub(super) fn settle(&mut self, at: usize, fates: &[Fate], stale_epoch: bool) {
        let Open { work, finished_early, .. } = self.calls.remove(at);
        let (tenure, now) = (work.tenure, self.now);
        let mut settlement = Settlement::empty(tenure, work.call);
        settlement.stale_epoch = stale_epoch;
        let (epoch, mut ends) = (work.epoch, BTreeMap::<LaneId, LaneEnd<()>>::new());
        let mut fates = fates.iter().cycle();
        for (lane, mut item) in work.items {
            let end = ends.entry(lane).or_insert_with(|| LaneEnd {
                lane,
                returned: Vec::new(),
                after: After::Go,
            });
            let offset = item.offset;
            if finished_early.contains(&offset) {
                continue;
            }
            let record = Finished { offset, bytes: item.bytes };
            let fate = *fates.next().unwrap();
            let stopped = end.after != After::Go;
            let place = match fate {
                Fate::Done => {
                    settlement.finished.push(record);
                    settlement.succeeded = true;
                    Place::Finished
                }
                Fate::Retry(_) | Fate::Letter | Fate::Untouched if stopped => {
                    end.returned.push(item);
                    Place::Waits
                }
                Fate::Retry(after_ms) => {
                    let until = now + Duration::from_millis(after_ms);
                    item.failures += 1;
                    settlement.failed += 1;
                    end.after = After::Wait(until);
                    end.returned.push(item);
                    Place::Waits
                }
                Fate::Letter => {
                    settlement.failed += 1;
                    settlement.letters.push(Pending { lane, record, letter: () });
                    end.after = After::Hold;
                    Place::InLetter
                }
                Fate::Alone | Fate::Untouched => {
                    item.alone |= fate == Fate::Alone;
                    end.returned.push(item);
                    Place::Waits
                }
            };
            self.place(tenure, offset, place);
        }
        for end in ends.values() {
            // Only the first waits, and those behind it with it.
            if let (After::Wait(until), Some(first)) = (end.after, end.returned.first())
                && let Some(tenant) = self.tenant(tenure)
            {
                tenant.records.get_mut(&first.offset).unwrap().not_before = until;
            }
        }
        settlement.lanes = ends.into_values().collect();
        if settlement.succeeded {
            self.failures_in_row = 0;
        } else {
            self.failures_in_row += settlement.failed;
        }
        if stale_epoch {
            self.refused(tenure, epoch);
        }
        self.schedule.settle(settlement, now);
    }

    /// Of the present epoch a refusal says something, and of none other.
    fn refused(&mut self, tenure: Tenure, epoch: Option<i64>) {
        if let Some(tenant) = self.tenant(tenure)
            && epoch.is_some()
            && epoch == tenant.epoch
        {
            tenant.open = false;
        }
    }

    pub(super) fn progress(&mut self, at: usize) {
        let open = &mut self.calls[at];
        let tenure = open.work.tenure;
        let next = open.work.items.iter().map(|(_, item)| item);
        let next = next.into_iter().find(|item| !open.finished_early.contains(&item.offset));
        let Some(record) = next.map(|item| Finished { offset: item.offset, bytes: item.bytes })
        else {
            return;
        };
        open.finished_early.insert(record.offset);
        self.failures_in_row = 0;
        self.place(tenure, record.offset, Place::Finished);
        self.schedule.progress(tenure, vec![record], true, self.now);
    }

    pub(super) fn publish(&mut self, published: bool) {
        for (tenure, letters) in std::mem::take(&mut self.letters) {
            if published {
                let records: Vec<_> =
                    letters.iter().map(|letter| (letter.lane, letter.record)).collect();
                for (_, record) in &records {
                    self.place(tenure, record.offset, Place::Finished);
                }
                self.schedule.letters_published(tenure, &records, self.now);
            } else {
                self.schedule.return_letters(tenure, letters);
            }
        }
    }
}
