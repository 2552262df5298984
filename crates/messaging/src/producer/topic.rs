//! What a topic costs once: its name on the broker, and its place among the metrics.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use millrace_envelope::TopicName;
use millrace_telemetry::metrics::IntCounter;

use crate::metrics;
use crate::naming::Naming;

/// A topic as a producer knows it.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: TopicName,
    pub(super) broker_name: String,
    pub(super) sent: IntCounter,
}

/// The topics met so far. Their number is the product's, so nothing is ever forgotten.
#[derive(Debug)]
pub(super) struct Topics {
    naming: Naming,
    // A std lock: held to look up or insert, never over an await.
    known: RwLock<HashMap<TopicName, Arc<Topic>>>,
}

impl Topics {
    pub(super) fn new(naming: Naming) -> Self {
        Self { naming, known: RwLock::default() }
    }

    pub(super) fn find(&self, name: &TopicName) -> Arc<Topic> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        known.unwrap_or_else(|| self.learn(name))
    }

    /// Like [`Self::find`], for a caller that goes through records which mostly share a topic.
    pub(super) fn find_after<'a>(
        &self,
        last: &'a mut Option<Arc<Topic>>,
        name: &TopicName,
    ) -> &'a Arc<Topic> {
        if last.as_ref().is_none_or(|topic| topic.name != *name) {
            *last = None;
        }
        last.get_or_insert_with(|| self.find(name))
    }

    fn learn(&self, name: &TopicName) -> Arc<Topic> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let topic = known.entry(name.clone()).or_insert_with(|| {
            let sent = metrics::sent_counter(name.as_str());
            let broker_name = self.naming.topic(name);
            Arc::new(Topic { name: name.clone(), broker_name, sent })
        });
        Arc::clone(topic)
    }
}
