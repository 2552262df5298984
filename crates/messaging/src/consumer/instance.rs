//! Static members that were fenced: another process has joined under the same instance id.
//!
//! To join again at once would fence that one, which would fence us, and so on. So a fenced member waits until nobody
//! is in the group under its id.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;

use super::poll::PollLoop;
use crate::Handler;
use crate::client::base_config;
use crate::settings::GroupProtocol;

const LOOK_INTERVAL: Duration = Duration::from_secs(1);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns when nobody is a member under this loop's instance id, or the loop stops.
pub(super) fn wait_until_free<H: Handler>(poll: &PollLoop<H>) {
    let Some(instance_id) = &poll.identity.instance_id else { return };
    // A coordinator of the new protocol doesn't fence: it lets no second one in, so joining may be tried.
    if poll.settings.group_protocol == GroupProtocol::Consumer {
        return;
    }
    while !poll.stopping() {
        match taken(poll, instance_id) {
            Ok(false) => return,
            Ok(true) => {
                poll.in_trouble(1, format!("another process runs as instance `{instance_id}`"));
            }
            Err(error) => tracing::debug!(%error, "members of the group were not told"),
        }
        poll.pause(LOOK_INTERVAL);
    }
}

fn taken<H: Handler>(poll: &PollLoop<H>, instance_id: &str) -> KafkaResult<bool> {
    let mut config = base_config(&poll.settings);
    config.set("group.id", format!("{}.looking", poll.identity.broker_group));
    let client: BaseConsumer = config.create()?;
    let groups = client.fetch_group_list(Some(&poll.identity.broker_group), ANSWER_TIMEOUT)?;
    // The broker names a static member by its instance id, a hyphen and a UUID.
    let prefix = format!("{instance_id}-");
    let mut members = groups.groups().iter().flat_map(|group| group.members());
    Ok(members.any(|member| {
        member.id().strip_prefix(&prefix).is_some_and(|rest| uuid::Uuid::parse_str(rest).is_ok())
    }))
}
