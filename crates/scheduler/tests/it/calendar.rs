//! Every change of the clocks of ten zones in ten years, against a walk that looks at each minute.
//!
//! The walk knows nothing of segments: it asks another library for the wall clock of each minute, matches its numbers
//! against plain sets, and remembers which times it has seen.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike, NaiveDateTime, TimeDelta, TimeZone as _, Timelike, Utc};
use chrono_tz::Tz;
use millrace_scheduler::calendar::{CronExpression, DstPolicy, Recurrence, Zone};

/// Sets of minute, hour, day of month, month, day of week (0 = Sunday); the text is what they spell.
struct Plain {
    text: &'static str,
    minutes: &'static [u32],
    hours: &'static [u32],
    days: &'static [u32],
    weekdays: &'static [u32],
}

const ALL: &[u32] = &[];

const PLAINS: [Plain; 8] = [
    Plain { text: "30 2 * * *", minutes: &[30], hours: &[2], days: ALL, weekdays: ALL },
    Plain { text: "0 0 * * *", minutes: &[0], hours: &[0], days: ALL, weekdays: ALL },
    Plain { text: "0 3 * * *", minutes: &[0], hours: &[3], days: ALL, weekdays: ALL },
    Plain { text: "*/15 * * * *", minutes: &[0, 15, 30, 45], hours: ALL, days: ALL, weekdays: ALL },
    Plain { text: "5 0-3 * * SUN", minutes: &[5], hours: &[0, 1, 2, 3], days: ALL, weekdays: &[0] },
    Plain { text: "59 23 * * SAT", minutes: &[59], hours: &[23], days: ALL, weekdays: &[6] },
    Plain {
        text: "45 1 25-31 * *",
        minutes: &[45],
        hours: &[1],
        days: &[25, 26, 27, 28, 29, 30, 31],
        weekdays: ALL,
    },
    Plain { text: "10 1 1 * SUN", minutes: &[10], hours: &[1], days: &[1], weekdays: &[0] },
];

fn in_set(set: &[u32], number: u32) -> bool {
    set.is_empty() || set.contains(&number)
}

impl Plain {
    fn fits(&self, wall: NaiveDateTime) -> bool {
        let (day, weekday) = (wall.day(), wall.weekday().num_days_from_sunday());
        let date = if !self.days.is_empty() && !self.weekdays.is_empty() {
            self.days.contains(&day) || self.weekdays.contains(&weekday)
        } else {
            in_set(self.days, day) && in_set(self.weekdays, weekday)
        };
        date && in_set(self.minutes, wall.minute()) && in_set(self.hours, wall.hour())
    }
}

const MINUTE: TimeDelta = TimeDelta::minutes(1);

/// The wall clock's minutes from a minute before `start` to `end`, asked for once and used by every walk.
fn walls(zone: Tz, start: DateTime<Utc>, end: DateTime<Utc>) -> Vec<NaiveDateTime> {
    let minutes = (end - start).num_minutes();
    let wall =
        |minute| zone.from_utc_datetime(&(start + MINUTE * minute).naive_utc()).naive_local();
    (-1..=i32::try_from(minutes).unwrap()).map(wall).collect()
}

fn walk(
    plain: &Plain,
    dst: DstPolicy,
    start: DateTime<Utc>,
    walls: &[NaiveDateTime],
) -> Vec<DateTime<Utc>> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let (mut instant, mut last) = (start, walls[0]);
    for &now in &walls[1..] {
        let mut due = plain.fits(now) && (seen.insert(now) || dst == DstPolicy::Twice);
        if dst != DstPolicy::Skip {
            let mut missing = last + MINUTE;
            while missing < now {
                due |= plain.fits(missing);
                missing += MINUTE;
            }
        }
        if due {
            found.push(instant);
        }
        last = now;
        instant += MINUTE;
    }
    found
}

/// Instants at which the distance from UTC changes, found by asking for each quarter of an hour.
fn changes(zone: Tz) -> Vec<DateTime<Utc>> {
    let start = Utc.with_ymd_and_hms(2016, 1, 1, 0, 0, 0).unwrap();
    let end = Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).unwrap();
    let offset =
        |at: DateTime<Utc>| zone.from_utc_datetime(&at.naive_utc()).naive_local() - at.naive_utc();
    let mut found = Vec::new();
    let (mut at, mut last) = (start, offset(start));
    while at < end {
        at += TimeDelta::minutes(15);
        let now = offset(at);
        if now != last {
            found.push(at);
            last = now;
        }
    }
    found
}

/// Every change of the zone's clock, all expressions and policies; how many changes there are.
fn check(name: &str, fewest_changes: usize) {
    let zone: Tz = name.parse().unwrap();
    let changes = changes(zone);
    assert!(changes.len() >= fewest_changes, "{name} has {} changes", changes.len());
    for change in changes {
        let (from, to) = (change - TimeDelta::days(1), change + TimeDelta::days(1));
        // A day before, so that what comes twice has been seen once.
        let start = from - TimeDelta::days(1);
        let walls = walls(zone, start, to);
        for plain in &PLAINS {
            let expression = CronExpression::parse(plain.text).unwrap();
            for dst in [DstPolicy::Skip, DstPolicy::Once, DstPolicy::Twice] {
                let mut expected = walk(plain, dst, start, &walls);
                expected.retain(|at| *at > from);
                let (expression, zone) = (expression.clone(), Zone::parse(name).unwrap());
                let recurrence = Recurrence::Cron { expression, zone, dst };
                let found: Vec<_> = recurrence.after(from).take_while(|at| *at <= to).collect();
                assert_eq!(found, expected, "{} in {name} around {change}, {dst:?}", plain.text);
            }
        }
    }
}

macro_rules! every_change_is_met {
    ($($test:ident: $zone:literal, $fewest:literal;)+) => {
        $(#[test]
        fn $test() {
            check($zone, $fewest);
        })+
    };
}

every_change_is_met! {
    berlin_keeps_every_policy_over_each_change: "Europe/Berlin", 20;
    london_keeps_every_policy_over_each_change: "Europe/London", 20;
    new_york_keeps_every_policy_over_each_change: "America/New_York", 20;
    sao_paulo_whose_changes_are_at_midnight_keeps_every_policy: "America/Sao_Paulo", 6;
    st_johns_half_an_hour_off_keeps_every_policy: "America/St_Johns", 20;
    lord_howe_which_moves_by_half_an_hour_keeps_every_policy: "Australia/Lord_Howe", 20;
    casablanca_which_changes_for_a_month_keeps_every_policy: "Africa/Casablanca", 20;
    tehran_keeps_every_policy_over_each_change: "Asia/Tehran", 12;
    auckland_keeps_every_policy_over_each_change: "Pacific/Auckland", 20;
    santiago_keeps_every_policy_over_each_change: "America/Santiago", 18;
}

#[test]
fn zones_are_names_of_the_database_and_nothing_else() {
    assert_eq!(Zone::parse("europe/berlin").unwrap().name(), "Europe/Berlin");
    assert_eq!(Zone::parse("UTC").unwrap().name(), "UTC");
    let rule = "EST5EDT,M3.2.0,M11.1.0";
    for bad in ["../../etc/passwd", "Mars/X", "", rule, &"a".repeat(500)] {
        assert!(Zone::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_yearly_expression_is_found_without_a_walk_through_every_change() {
    let expression = CronExpression::parse("0 0 29 2 *").unwrap();
    let zone = Zone::parse("Europe/Berlin").unwrap();
    let recurrence = Recurrence::Cron { expression, zone, dst: DstPolicy::Once };
    let start = Utc.with_ymd_and_hms(2025, 1, 1, 0, 0, 0).unwrap();
    let days: Vec<_> = recurrence.after(start).take(3).map(|at| at.to_rfc3339()).collect();
    let expected =
        ["2028-02-28T23:00:00+00:00", "2032-02-28T23:00:00+00:00", "2036-02-28T23:00:00+00:00"];
    assert_eq!(days, expected);
}
