//! What it means that letters were refused for their size.
//!
//! The broker's limit is one for whole batches. A batch that is refused says nothing against any one of its letters,
//! and taking the largest for the cause would convict all of them, one after the other. So the letters are sent again
//! with a batch for each, and whoever is refused then is too large for certain. With it are all that are as large and
//! go to the same topic: they need not be tried to be known.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::super::OutgoingLetter;
use super::reports::Outcome;

/// How letters are put into batches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) enum Batching {
    /// As many together as come together.
    #[default]
    Together,
    /// Each on its own: a topic is too narrow for some together.
    Singly,
}

/// Letters were refused for their size.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Several together; it is not known whether one of them is too large.
    Batch,
    /// These, in order, each on its own.
    Letters(Vec<usize>),
}

pub(super) fn is_too_large(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge)
    )
}

/// What the failures say of the letters' sizes, if anything.
pub(super) fn refusal(
    letters: &[OutgoingLetter],
    outcome: &Outcome,
    batching: Batching,
) -> Option<Refusal> {
    let refused = outcome.failed.iter().filter(|(_, error)| is_too_large(error));
    let refused: Vec<&OutgoingLetter> = refused.map(|(index, _)| &letters[*index]).collect();
    if refused.is_empty() {
        return None;
    }
    // Of those that aren't reported some may have been in the batch.
    let alone = batching == Batching::Singly || (refused.len() == 1 && outcome.complete);
    if !alone {
        return Some(Refusal::Batch);
    }
    let as_large = |letter: &OutgoingLetter| {
        let other = |it: &&OutgoingLetter| it.topic == letter.topic && it.bytes() <= letter.bytes();
        refused.iter().any(other)
    };
    let all = letters.iter().enumerate().filter(|(_, letter)| as_large(letter));
    Some(Refusal::Letters(all.map(|(index, _)| index).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letters(sizes: &[(&str, usize)]) -> Vec<OutgoingLetter> {
        let letter = |(topic, bytes): &(&str, usize)| OutgoingLetter {
            topic: (*topic).to_owned(),
            partition: None,
            key: None,
            payload: Some(vec![0; *bytes]),
            headers: Vec::new(),
            timestamp_ms: None,
        };
        sizes.iter().map(letter).collect()
    }

    fn failed(codes: &[(usize, RDKafkaErrorCode)]) -> Outcome {
        let failures = codes.iter().map(|(at, code)| (*at, KafkaError::MessageProduction(*code)));
        Outcome { failed: failures.collect(), complete: true }
    }

    const LARGE: RDKafkaErrorCode = RDKafkaErrorCode::MessageSizeTooLarge;

    #[test]
    fn a_batch_that_is_refused_convicts_none_of_its_letters() {
        let letters = letters(&[("t", 10), ("t", 5000), ("t", 10)]);
        for code in [LARGE, RDKafkaErrorCode::MessageBatchTooLarge] {
            let failed = failed(&[(0, code), (1, code), (2, code)]);
            let said = refusal(&letters, &failed, Batching::Together);
            assert_eq!(said, Some(Refusal::Batch));
        }
    }

    #[test]
    fn a_letter_that_is_refused_alone_is_too_large_however_the_others_travel() {
        let letters = letters(&[("t", 10), ("t", 5000), ("t", 10)]);
        let failed = failed(&[(1, LARGE), (2, RDKafkaErrorCode::PurgeQueue)]);
        for batching in [Batching::Together, Batching::Singly] {
            let said = refusal(&letters, &failed, batching);
            assert_eq!(said, Some(Refusal::Letters(vec![1])));
        }
    }

    #[test]
    fn a_refused_letter_is_not_taken_for_one_that_went_alone_while_others_are_not_reported() {
        let letters = letters(&[("t", 10), ("t", 5000), ("t", 10)]);
        let some = Outcome { complete: false, ..failed(&[(0, LARGE)]) };
        assert_eq!(refusal(&letters, &some, Batching::Together), Some(Refusal::Batch));
        let said = refusal(&letters, &some, Batching::Singly);
        assert_eq!(said, Some(Refusal::Letters(vec![0, 1, 2])), "each is a batch of its own");
    }

    #[test]
    fn all_that_are_as_large_and_go_to_the_same_topic_are_named_with_it() {
        let letters = letters(&[("t", 70), ("t", 60), ("t", 50), ("t", 40), ("other", 80)]);
        let failed = failed(&[(1, LARGE), (2, LARGE), (3, RDKafkaErrorCode::PurgeQueue)]);
        let said = refusal(&letters, &failed, Batching::Singly);
        assert_eq!(said, Some(Refusal::Letters(vec![0, 1, 2])));
    }

    #[test]
    fn failures_of_other_kinds_say_nothing_of_sizes() {
        let letters = letters(&[("t", 70)]);
        let unauthorised = failed(&[(0, RDKafkaErrorCode::TopicAuthorizationFailed)]);
        assert_eq!(refusal(&letters, &unauthorised, Batching::Singly), None);
        assert_eq!(refusal(&letters, &failed(&[]), Batching::Together), None);
    }
}
