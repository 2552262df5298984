//! The line against a model that is too slow and simple to be wrong.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A record: its place, its number, its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Parcel {
    place: u8,
    number: usize,
    bytes: usize,
}

impl Waiting for Parcel {
    type Place = u8;

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn place(&self) -> u8 {
        self.place
    }
}

#[derive(Debug, Clone)]
enum Step {
    Offer { place: u8, bytes: usize },
    Take(usize),
    Close,
    Drain,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0u8..5, 0usize..40).prop_map(|(place, bytes)| Step::Offer { place, bytes }),
        4 => (0usize..6).prop_map(Step::Take),
        1 => Just(Step::Drain),
        1 => Just(Step::Close),
    ];
    vec(step, 1..120)
}

fn policy() -> impl Strategy<Value = OverflowPolicy> {
    prop_oneof![
        Just(OverflowPolicy::Block { deadline: Duration::ZERO }),
        Just(OverflowPolicy::DropNewest),
        Just(OverflowPolicy::DropOldest),
        Just(OverflowPolicy::Error),
        Just(OverflowPolicy::LatestPerKey),
    ]
}

/// The policies, told over a plain list.
#[derive(Debug, Default)]
struct Model {
    waiting: Vec<Parcel>,
    accounts: Accounts,
    dropped: Vec<Parcel>,
    closed: bool,
}

impl Model {
    fn bytes(&self) -> usize {
        self.waiting.iter().map(|parcel| parcel.bytes).sum()
    }

    fn fits(&self, bounds: Bounds, bytes: usize) -> bool {
        self.waiting.len() < bounds.records_max && self.bytes() + bytes <= bounds.bytes_max
    }

    fn offer(
        &mut self,
        policy: OverflowPolicy,
        bounds: Bounds,
        parcel: Parcel,
    ) -> Result<(), Refusal> {
        if self.closed {
            return Err(Refusal::Closed);
        }
        if parcel.bytes > bounds.bytes_max {
            return Err(Refusal::TooLarge);
        }
        let same = self.waiting.iter().position(|waiting| waiting.place == parcel.place);
        match (policy, same) {
            (OverflowPolicy::LatestPerKey, Some(index)) => {
                let others = self.bytes() - self.waiting[index].bytes;
                if others + parcel.bytes > bounds.bytes_max {
                    return Err(Refusal::Full);
                }
                self.drop_one(index);
                self.waiting.insert(index, parcel);
            }
            (OverflowPolicy::DropNewest, _) if !self.fits(bounds, parcel.bytes) => {
                self.waiting.push(parcel);
                self.drop_one(self.waiting.len() - 1);
            }
            (OverflowPolicy::DropOldest, _) => {
                while !self.fits(bounds, parcel.bytes) {
                    self.drop_one(0);
                }
                self.waiting.push(parcel);
            }
            _ if self.fits(bounds, parcel.bytes) => self.waiting.push(parcel),
            _ => return Err(Refusal::Full),
        }
        self.accounts.accepted += 1;
        Ok(())
    }

    fn drop_one(&mut self, index: usize) {
        self.dropped.push(self.waiting.remove(index));
        self.accounts.dropped += 1;
    }
}

proptest! {
    #[test]
    fn the_line_does_what_its_policy_says_and_its_accounts_add_up(
        policy in policy(),
        records_max in 1usize..8,
        bytes_max in 1usize..100,
        steps in steps(),
    ) {
        let bounds = Bounds { records_max, bytes_max };
        let mut line = Line::new(policy, bounds);
        let mut model = Model::default();
        let mut dropped = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Offer { place, bytes } => {
                    let parcel = Parcel { place, number, bytes };
                    let told = line.offer(parcel, &mut dropped);
                    let expected = model.offer(policy, bounds, parcel);
                    prop_assert_eq!(told, expected.map_err(|refusal| (parcel, refusal)));
                }
                Step::Take(count) => {
                    let mut taken = VecDeque::new();
                    line.take(count, &mut taken);
                    let count = count.min(model.waiting.len());
                    let expected: Vec<Parcel> = model.waiting.drain(..count).collect();
                    model.accounts.handed += expected.len() as u64;
                    prop_assert_eq!(Vec::from(taken), expected);
                }
                Step::Close => {
                    line.close();
                    model.closed = true;
                }
                Step::Drain => {
                    let expected = mem::take(&mut model.waiting);
                    model.accounts.left += expected.len() as u64;
                    prop_assert_eq!(line.drain(), expected);
                }
            }
            prop_assert_eq!(line.len(), model.waiting.len());
            prop_assert_eq!(line.bytes(), model.bytes());
            prop_assert!(line.len() <= records_max && line.bytes() <= bytes_max);
            prop_assert_eq!(&dropped, &model.dropped);
            let Accounts { accepted, dropped, handed, left } = line.accounts();
            prop_assert_eq!(line.accounts(), model.accounts);
            prop_assert_eq!(accepted, dropped + handed + left + line.len() as u64);
        }
    }
}

#[test]
fn the_newest_of_a_key_takes_the_place_of_the_one_before() {
    let bounds = Bounds { records_max: 10, bytes_max: 100 };
    let mut line = Line::new(OverflowPolicy::LatestPerKey, bounds);
    let mut dropped = Vec::new();
    for (number, place) in [7, 8, 7, 9, 7].into_iter().enumerate() {
        line.offer(Parcel { place, number, bytes: 1 }, &mut dropped).unwrap();
    }
    let mut taken = VecDeque::new();
    line.take(1, &mut taken);
    assert_eq!(taken, [Parcel { place: 7, number: 4, bytes: 1 }]);
    line.offer(Parcel { place: 7, number: 5, bytes: 1 }, &mut dropped).unwrap();
    line.take(9, &mut taken);
    let numbers: Vec<usize> = taken.iter().map(|parcel| parcel.number).collect();
    assert_eq!(numbers, [4, 1, 3, 5]);
    assert_eq!(dropped.len(), 2);
}
