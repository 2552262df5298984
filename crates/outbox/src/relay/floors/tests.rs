//! A small model of the table: transactions that draw numbers and commit when they like, a relay that reads from its
//! floors, another one that deletes what this one let go of, releases. Whatever is visible must be behind the floor.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;

const BUCKETS: i16 = 3;
const LIMIT: usize = 4;

#[derive(Default)]
struct Table {
    drawn: i64,
    /// Bucket by number: what is visible.
    rows: BTreeMap<i64, i16>,
    /// Set aside: in a bucket that nobody reads.
    parked: BTreeMap<i64, i16>,
    /// By name, with what each has drawn.
    open: BTreeMap<String, Vec<(i64, i16)>>,
    transactions: usize,
    releases: i64,
}

impl Table {
    fn begin(&mut self) {
        self.transactions += 1;
        self.open.insert(format!("1/{}", self.transactions), Vec::new());
    }

    fn draw(&mut self, draw: &mut StdRng) {
        let at = draw.random_range(0..self.open.len().max(1));
        if let Some(rows) = self.open.values_mut().nth(at) {
            self.drawn += 1;
            rows.push((self.drawn, draw.random_range(0..BUCKETS)));
        }
    }

    fn end(&mut self, draw: &mut StdRng) {
        let at = draw.random_range(0..self.open.len().max(1));
        let Some(name) = self.open.keys().nth(at).cloned() else { return };
        let rows = self.open.remove(&name).unwrap();
        if draw.random_bool(0.9) {
            self.rows.extend(rows);
        }
    }

    fn writers(&self) -> HashSet<String> {
        self.open.keys().cloned().collect()
    }

    fn first(&self, bucket: i16) -> Option<i64> {
        self.rows.iter().find(|(_, b)| **b == bucket).map(|(seq, _)| *seq)
    }
}

/// What the relay's statement returns.
fn look(
    table: &Table,
    floors: &Floors,
    flying: &BTreeMap<i64, i16>,
    held: bool,
) -> Vec<(i16, i64)> {
    let mut found = Vec::new();
    for bucket in 0..BUCKETS {
        let floor = if floors.releases() == table.releases { floors.of(bucket) } else { FRONT };
        assert!(table.first(bucket).is_none_or(|first| first > floor), "a row is below {floor}");
        let rows = table.rows.iter().filter(|(seq, b)| **b == bucket && **seq > floor);
        let rows = rows.filter(|(seq, _)| !(flying.contains_key(*seq) || held && **seq % 5 == 0));
        found.extend(rows.take(LIMIT).map(|(seq, bucket)| (*bucket, *seq)));
    }
    found
}

/// The bucket's next owner publishes what it likes.
fn let_go(table: &mut Table, floors: &mut Floors, flying: &BTreeMap<i64, i16>, draw: &mut StdRng) {
    let bucket = draw.random_range(0..BUCKETS);
    if flying.values().all(|flying| *flying != bucket) {
        floors.released(bucket);
        let gone = table.rows.iter().filter(|(_, b)| **b == bucket).map(|(seq, _)| *seq);
        let gone: Vec<i64> = gone.filter(|_| draw.random_bool(0.5)).collect();
        table.rows.retain(|seq, _| !gone.contains(seq));
    }
}

fn set_aside(table: &mut Table, floors: &mut Floors, flying: &BTreeMap<i64, i16>) {
    let aside = table.rows.iter().filter(|(seq, _)| !flying.contains_key(seq));
    let aside = aside.filter(|(seq, _)| **seq % 7 == 0);
    let aside: Vec<(i16, i64)> = aside.map(|(seq, bucket)| (*bucket, *seq)).collect();
    for (bucket, seq) in &aside {
        table.rows.remove(seq);
        table.parked.insert(*seq, *bucket);
    }
    floors.gone(&aside);
}

fn storm(seed: u64) {
    let draw = &mut StdRng::seed_from_u64(seed);
    let (mut table, mut floors) = (Table::default(), Floors::new(true, Instant::now()));
    let mut flying: BTreeMap<i64, i16> = BTreeMap::new();
    let mut question: Option<i64> = None;
    for _ in 0..2000 {
        match draw.random_range(0..100) {
            0..10 if table.open.len() < 5 => table.begin(),
            10..40 => table.draw(draw),
            40..52 => table.end(draw),
            52..70 => {
                let held = draw.random_bool(0.3);
                let rows = look(&table, &floors, &flying, held);
                floors.read(rows.iter().copied(), table.releases, !held);
                // Some are left, to be read again.
                let taken = rows.into_iter().filter(|_| draw.random_bool(0.8));
                flying.extend(taken.map(|(bucket, seq)| (seq, bucket)));
            }
            70..90 => {
                let keep = draw.random_bool(0.2);
                let landed: Vec<(i16, i64)> = flying
                    .iter()
                    .filter(|_| draw.random_bool(0.6))
                    .map(|(seq, bucket)| (*bucket, *seq))
                    .collect();
                flying.retain(|seq, _| landed.iter().all(|(_, landed)| landed != seq));
                // A row that failed is no longer on its way and stays.
                if !keep {
                    table.rows.retain(|seq, _| landed.iter().all(|(_, landed)| landed != seq));
                    floors.gone(&landed);
                }
            }
            90..95 => {
                // Between the question and its answer anything may happen, so the answer comes in a later turn.
                floors.deleted += ASK_ROWS;
                match question.take() {
                    Some(seen) => floors.hears(seen, table.writers()),
                    None => question = floors.asks(),
                }
            }
            95..97 => let_go(&mut table, &mut floors, &flying, draw),
            97..99 => set_aside(&mut table, &mut floors, &flying),
            99.. => {
                table.releases += 1;
                let parked = std::mem::take(&mut table.parked);
                table.rows.extend(parked);
            }
            _ => {}
        }
    }
    all_is_found(table, floors, draw);
}

/// Once nobody writes any more, everything is found, and the floors rise to the last row.
fn all_is_found(mut table: Table, mut floors: Floors, draw: &mut StdRng) {
    let flying = BTreeMap::new();
    while !table.open.is_empty() {
        table.end(draw);
    }
    loop {
        let rows = look(&table, &floors, &flying, false);
        if rows.is_empty() {
            break;
        }
        floors.read(rows.iter().copied(), table.releases, true);
        table.rows.retain(|seq, _| rows.iter().all(|(_, row)| row != seq));
        floors.gone(&rows);
        floors.deleted += ASK_ROWS;
        if let Some(seen) = floors.asks() {
            floors.hears(seen, table.writers());
        }
    }
    assert!(table.rows.is_empty(), "{:?} are left", table.rows);
    // What is drawn from now on finds every floor at the last row before it.
    for turn in 0..2 {
        for bucket in 0..BUCKETS {
            floors.released(bucket);
            table.drawn += 1;
            table.rows.insert(table.drawn, bucket);
        }
        let rows = look(&table, &floors, &flying, false);
        floors.read(rows.iter().copied(), table.releases, true);
        if turn == 1 {
            assert!(
                rows.iter().all(|(bucket, seq)| floors.of(*bucket) >= seq - 1 - i64::from(BUCKETS))
            );
        }
        table.rows.clear();
        floors.gone(&rows);
        floors.deleted += ASK_ROWS;
        if let Some(seen) = floors.asks() {
            floors.hears(seen, HashSet::new());
        }
    }
}

#[test]
fn no_visible_row_is_ever_below_its_floor() {
    let first: u64 = rand::rng().random();
    println!("seeds from {first}");
    for seed in (0..300).map(|number| first.wrapping_add(number)) {
        println!("seed {seed}");
        storm(seed);
    }
}

fn read(floors: &mut Floors, rows: &[i64]) {
    floors.read(rows.iter().map(|seq| (0, *seq)), 0, true);
}

fn delete(floors: &mut Floors, rows: &[i64]) {
    floors.gone(&rows.iter().map(|seq| (0, *seq)).collect::<Vec<_>>());
}

fn hear(floors: &mut Floors, names: &[&str]) {
    floors.deleted = ASK_ROWS;
    let seen = floors.asks().unwrap();
    floors.hears(seen, names.iter().map(|name| (*name).to_owned()).collect());
}

#[test]
fn a_floor_rises_when_nobody_is_left_who_may_have_drawn_a_number_below() {
    let mut floors = Floors::new(true, Instant::now());
    read(&mut floors, &[1, 2, 5, 9]);
    delete(&mut floors, &[1, 2, 5]);
    hear(&mut floors, &["1/1", "2/1"]);
    hear(&mut floors, &["2/1", "1/2"]);
    read(&mut floors, &[10]);
    assert_eq!(floors.of(0), FRONT, "one of the two may still commit 3");
    hear(&mut floors, &["1/2", "2/2"]);
    assert_eq!(floors.of(0), FRONT, "it may have committed 3 since the last look");
    read(&mut floors, &[11]);
    assert_eq!(floors.of(0), 8, "those who are there now came later; 9 is still open");
    delete(&mut floors, &[9]);
    assert_eq!(floors.of(0), 9, "10 is still open");
}

#[test]
fn a_prepared_transaction_keeps_every_floor_down() {
    let mut floors = Floors::new(true, Instant::now());
    read(&mut floors, &[1, 4]);
    delete(&mut floors, &[1, 4]);
    hear(&mut floors, &["1/1"]);
    // The same one under its new name.
    hear(&mut floors, &[PREPARED]);
    read(&mut floors, &[5]);
    assert_eq!(floors.of(0), FRONT);
    hear(&mut floors, &[]);
    read(&mut floors, &[6]);
    assert_eq!(floors.of(0), 4);
}

#[test]
fn floors_are_forgotten_after_a_release_and_from_time_to_time_and_not_made_out_of_order() {
    let now = Instant::now();
    let settle = |floors: &mut Floors, releases| {
        floors.read([(0, 3), (0, 4)].into_iter(), releases, true);
        delete(floors, &[3, 4]);
        floors.deleted = ASK_ROWS;
        if let Some(seen) = floors.asks() {
            floors.hears(seen, HashSet::new());
        }
        floors.read([(0, 5)].into_iter(), releases, true);
    };
    let mut floors = Floors::new(true, now);
    settle(&mut floors, 0);
    assert_eq!(floors.of(0), 4);
    floors.read(std::iter::empty(), 1, true);
    assert_eq!(floors.of(0), FRONT, "a release was counted");
    settle(&mut floors, 1);
    floors.refresh(now + FRONT_INTERVAL / 2);
    assert_eq!(floors.of(0), 4);
    floors.refresh(now + FRONT_INTERVAL);
    assert_eq!(floors.of(0), FRONT);
    let mut cached = Floors::new(false, now);
    settle(&mut cached, 0);
    assert_eq!(cached.of(0), FRONT);
}
