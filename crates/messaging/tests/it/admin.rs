//! Topics by the table.

use std::collections::BTreeMap;

use millrace_envelope::TopicName;
use millrace_messaging::admin::{Difference, TopicAdmin, TopicConfig};
use millrace_testkit::Stack;

use crate::harness::settings;

fn config(name: &'static str, partitions: i32, retention_ms: &str) -> TopicConfig {
    TopicConfig {
        name: TopicName::from_static(name),
        partitions,
        replication: 1,
        configs: BTreeMap::from([("retention.ms".to_owned(), retention_ms.to_owned())]),
    }
}

#[tokio::test]
async fn ensure_creates_and_configures_and_reports_what_it_never_changes() {
    let stack = Stack::shared().await;
    let namespace = stack.namespace();
    let admin = TopicAdmin::new(&settings(stack, &namespace)).unwrap();
    let (a, b) = (config("a", 2, "60000"), config("b", 1, "70000"));
    let names = [a.name.clone(), b.name.clone()];
    let missing = [Difference::Missing(a.name.clone()), Difference::Missing(b.name.clone())];
    assert_eq!(admin.diff(&[a.clone(), b.clone()]).await.unwrap(), missing);

    let report = admin.ensure(&[a.clone(), b.clone()]).await.unwrap();
    assert_eq!((report.created.len(), report.altered.len(), report.left.len()), (2, 0, 0));
    assert!(admin.diff(&[a.clone(), b.clone()]).await.unwrap().is_empty());
    let again = admin.ensure(&[a.clone(), b.clone()]).await.unwrap();
    assert_eq!((again.created.len(), again.altered.len(), again.left.len()), (0, 0, 0));

    // A config set by the first table and left out by the second stays.
    let mut changed = config("b", 1, "80000");
    changed.configs.insert("cleanup.policy".into(), "compact".into());
    admin.ensure(&[changed]).await.unwrap();
    let more = config("b", 3, "90000");
    let report = admin.ensure(&[a.clone(), more.clone()]).await.unwrap();
    assert_eq!(report.altered, [TopicName::from_static("b")]);
    let partitions = Difference::Partitions { topic: more.name.clone(), wanted: 3, found: 1 };
    assert_eq!(report.left, std::slice::from_ref(&partitions));
    assert_eq!(admin.diff(&[a, more]).await.unwrap(), [partitions]);
    let mut policy = config("b", 1, "90000");
    policy.configs.insert("cleanup.policy".into(), "compact".into());
    assert!(admin.diff(&[policy]).await.unwrap().is_empty());

    admin.delete(&names).await.unwrap();
    admin.delete(&names).await.unwrap();
}
