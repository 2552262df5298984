//! What was promised. The checker calls nothing broken that nobody promised.

/// In which order records take effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// In none.
    None,
    /// Those of one key in the order they were sent.
    Key,
    /// Those of one partition in the order of its log.
    Partition,
}

/// The promises of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a promise of its own; any mix can be made"
)]
pub struct Promises {
    /// No acknowledged record is without an outcome.
    pub at_least_once: bool,
    /// No record takes effect twice, and none is both done and dead.
    pub exactly_once_effect: bool,
    /// Effect, inbox row and dead letter agree.
    pub inbox: bool,
    /// How effects are ordered.
    pub order: Order,
    /// A record stands in the log once.
    pub unique_in_log: bool,
    /// A producer's records of one key stand in the log in the order it sent them.
    pub ordered_sends: bool,
    /// A sink takes no effect under an epoch lower than one it has seen.
    pub epochs: bool,
    /// A record is given up once at most.
    pub one_letter: bool,
    /// How long after its end a record may still be repeated when its owner goes, in microseconds; `None` promises
    /// nothing.
    pub replay_window_us: Option<i64>,
}

impl Promises {
    /// Of a consumer with a database, ordered by key.
    pub const WITH_DATABASE: Self = Self {
        at_least_once: true,
        exactly_once_effect: true,
        inbox: true,
        order: Order::Key,
        unique_in_log: true,
        ordered_sends: true,
        epochs: false,
        one_letter: false,
        replay_window_us: None,
    };

    /// Of a consumer without a database, ordered by key.
    pub const WITHOUT_DATABASE: Self =
        Self { exactly_once_effect: false, inbox: false, one_letter: true, ..Self::WITH_DATABASE };

    /// Of a sink without an inbox that checks epochs.
    pub const WITH_EPOCHS: Self = Self { epochs: true, ..Self::WITHOUT_DATABASE };
}
