//! The topics that exist, known to every shard alike.
//!
//! Only shard 0 changes what it says, by letters to all; here is no I/O and no asking. What a
//! newcomer gets wrong: a topic is its id. A name may be given to a new topic after a deletion, an
//! id never is.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use core::time::Duration;

use plimsoll_device::BLOCK_BYTES;
use plimsoll_storage::{Compaction, PartitionConfig, PartitionId, Retention};
use plimsoll_wire::{
    AckLevel, AlterTopic, CleanupPolicy, CreateTopic, TopicCleanup, TopicName, TopicRetention,
};

use crate::config::TopicSettings;

/// A topic. Its id is never given out again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) partitions: u32,
    pub(crate) settings: TopicSettings,
}

impl Topic {
    pub(crate) fn partition(&self, partition: u32) -> Option<PartitionId> {
        (partition < self.partitions).then_some(PartitionId { topic: self.id, partition })
    }

    pub(crate) fn partition_config(&self) -> PartitionConfig {
        let TopicRetention { age_ms, bytes } = self.settings.retention;
        let TopicCleanup { policy, compaction_lag_ms, tombstone_retention_ms } =
            self.settings.cleanup;
        PartitionConfig {
            segment_bytes: self.settings.segment_bytes,
            batch_bytes_max: self.settings.batch_bytes_max as usize,
            flush_interval: Duration::from_millis(u64::from(self.settings.flush_interval_ms)),
            retention: Retention {
                age: (age_ms > 0 && policy.deletes()).then(|| Duration::from_millis(age_ms)),
                bytes: (bytes > 0 && policy.deletes()).then_some(bytes),
            },
            compaction: policy.compacts().then(|| Compaction {
                lag: Duration::from_millis(compaction_lag_ms),
                tombstone_retention: Duration::from_millis(tombstone_retention_ms),
            }),
        }
    }
}

/// What a client wants of the topics; shard 0 carries it out.
#[derive(Clone, Debug)]
pub(crate) enum TopicRequest {
    Create { name: TopicName, partitions: u32, settings: TopicSettings },
    Alter { name: String, changes: SettingChanges },
    Delete { name: String },
}

/// Settings of a topic that are to be others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SettingChanges {
    retention_ms: Option<u64>,
    retention_bytes: Option<u64>,
    flush_interval_ms: Option<u32>,
    segment_bytes: Option<u64>,
    default_durability: Option<AckLevel>,
    cleanup: Option<CleanupPolicy>,
    compaction_lag_ms: Option<u64>,
    tombstone_retention_ms: Option<u64>,
}

impl SettingChanges {
    pub(crate) fn of(request: &AlterTopic<'_>) -> Self {
        Self {
            retention_ms: request.retention_ms,
            retention_bytes: request.retention_bytes,
            flush_interval_ms: request.flush_interval_ms,
            segment_bytes: request.segment_bytes,
            default_durability: request.default_durability,
            cleanup: request.cleanup,
            compaction_lag_ms: request.compaction_lag_ms,
            tombstone_retention_ms: request.tombstone_retention_ms,
        }
    }

    /// The settings with the changes made, or what is wrong with them.
    pub(crate) fn made_to(&self, settings: &TopicSettings) -> Result<TopicSettings, &'static str> {
        let TopicRetention { age_ms, bytes } = settings.retention;
        let TopicCleanup { policy, compaction_lag_ms, tombstone_retention_ms } = settings.cleanup;
        let changed = TopicSettings {
            default_durability: self.default_durability.unwrap_or(settings.default_durability),
            flush_interval_ms: self.flush_interval_ms.unwrap_or(settings.flush_interval_ms),
            segment_bytes: whole_blocks(self.segment_bytes.unwrap_or(settings.segment_bytes)),
            retention: TopicRetention {
                age_ms: self.retention_ms.unwrap_or(age_ms),
                bytes: self.retention_bytes.unwrap_or(bytes),
            },
            cleanup: TopicCleanup {
                policy: self.cleanup.unwrap_or(policy),
                compaction_lag_ms: self.compaction_lag_ms.unwrap_or(compaction_lag_ms),
                tombstone_retention_ms: self
                    .tombstone_retention_ms
                    .unwrap_or(tombstone_retention_ms),
            },
            ..*settings
        };
        changed.checked()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Catalog {
    by_name: BTreeMap<String, Arc<Topic>>,
    by_id: BTreeMap<u32, Arc<Topic>>,
    /// The newest topic that there ever was, as far as is known here.
    newest_id: u32,
    /// There may be more topics: why nobody can tell.
    incomplete: Option<Arc<str>>,
}

impl Catalog {
    /// Damage has taken the end of the topics' log, or may have.
    pub(crate) fn note_incomplete(&mut self, why: Arc<str>) {
        self.incomplete = Some(why);
    }

    pub(crate) fn why_incomplete(&self) -> Option<&Arc<str>> {
        self.incomplete.as_ref()
    }

    pub(crate) fn insert(&mut self, topic: Arc<Topic>) {
        self.newest_id = self.newest_id.max(topic.id);
        self.by_name.insert(topic.name.clone(), Arc::clone(&topic));
        self.by_id.insert(topic.id, topic);
    }

    pub(crate) fn remove(&mut self, id: u32) -> Option<Arc<Topic>> {
        let topic = self.by_id.remove(&id)?;
        self.by_name.remove(&topic.name);
        Some(topic)
    }

    /// Whether a topic is gone. One that is not known yet has a newer id than all that are.
    pub(crate) fn was_removed(&self, id: u32) -> bool {
        id <= self.newest_id && !self.by_id.contains_key(&id)
    }

    pub(crate) fn named(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name)
    }

    pub(crate) fn with_id(&self, id: u32) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    /// All topics, by name.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.by_name.values()
    }

    pub(crate) fn partitions(&self) -> u64 {
        self.by_id.values().map(|topic| u64::from(topic.partitions)).sum()
    }
}

const SEGMENT_BYTES_MIN: u64 = 1 << 20;
const SEGMENT_BYTES_MAX: u64 = 64 << 30;
const FLUSH_INTERVAL_MS_MAX: u32 = 60 * 60 * 1000;
const BATCH_BYTES_MIN: u32 = 1 << 10;
const RETENTION_MS_MIN: u64 = 1000;
const RETENTION_MS_MAX: u64 = 1000 * 366 * 24 * 3600 * 1000;

/// The settings of a new topic, or what is wrong with those that were asked for.
pub(crate) fn settings_of(
    request: &CreateTopic<'_>,
    defaults: &TopicSettings,
    batch_bytes_max: u32,
) -> Result<TopicSettings, &'static str> {
    let or = |wanted: u32, default: u32| if wanted == 0 { default } else { wanted };
    let default_durability: AckLevel =
        request.default_durability.unwrap_or(defaults.default_durability);
    let wanted_bytes =
        if request.segment_bytes == 0 { defaults.segment_bytes } else { request.segment_bytes };
    let settings = TopicSettings {
        default_durability,
        flush_interval_ms: or(request.flush_interval_ms, defaults.flush_interval_ms),
        segment_bytes: whole_blocks(wanted_bytes),
        batch_bytes_max: or(request.max_batch_bytes, defaults.batch_bytes_max),
        retention: request.retention,
        cleanup: request.cleanup,
    };
    if (BATCH_BYTES_MIN..=batch_bytes_max).contains(&settings.batch_bytes_max) {
        settings.checked()
    } else {
        Err("max_batch_bytes is from 1 KiB to what the server's frames can carry")
    }
}

impl TopicSettings {
    /// Those of the settings that may be changed later are within bounds.
    fn checked(self) -> Result<Self, &'static str> {
        let age_ms = self.retention.age_ms;
        if !(1..=FLUSH_INTERVAL_MS_MAX).contains(&self.flush_interval_ms) {
            Err("flush_interval_ms is from 1 to one hour")
        } else if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes) {
            Err("segment_bytes is from 1 MiB to 64 GiB")
        } else if age_ms > 0 && !(RETENTION_MS_MIN..=RETENTION_MS_MAX).contains(&age_ms) {
            Err("retention_ms is 0, for ever, or from one second to 1000 years")
        } else if self.cleanup.compaction_lag_ms > RETENTION_MS_MAX
            || self.cleanup.tombstone_retention_ms > RETENTION_MS_MAX
        {
            Err("compaction_lag_ms and tombstone_retention_ms are up to 1000 years")
        } else {
            Ok(self)
        }
    }
}

fn whole_blocks(bytes: u64) -> u64 {
    bytes.saturating_add(BLOCK_BYTES as u64 - 1) & !(BLOCK_BYTES as u64 - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> CreateTopic<'static> {
        CreateTopic {
            name: "t",
            partitions: 1,
            default_durability: None,
            flush_interval_ms: 0,
            segment_bytes: 0,
            max_batch_bytes: 0,
            retention: TopicRetention::UNLIMITED,
            cleanup: TopicCleanup::DEFAULT,
        }
    }

    #[test]
    fn zero_is_the_servers_default_and_segments_are_whole_blocks() {
        let defaults = TopicSettings::default();
        assert_eq!(settings_of(&request(), &defaults, 16 << 20), Ok(defaults));
        let odd = CreateTopic { segment_bytes: (2 << 20) + 1, ..request() };
        let settings = settings_of(&odd, &defaults, 16 << 20).unwrap();
        assert_eq!(settings.segment_bytes, (2 << 20) + 4096);
    }

    #[test]
    fn settings_out_of_bounds_are_refused() {
        let defaults = TopicSettings::default();
        for wrong in [
            CreateTopic { segment_bytes: 1, ..request() },
            CreateTopic { segment_bytes: u64::MAX, ..request() },
            CreateTopic { max_batch_bytes: u32::MAX, ..request() },
            CreateTopic { max_batch_bytes: 1, ..request() },
            CreateTopic { flush_interval_ms: u32::MAX, ..request() },
            CreateTopic { retention: TopicRetention { age_ms: 999, bytes: 0 }, ..request() },
            CreateTopic { retention: TopicRetention { age_ms: u64::MAX, bytes: 0 }, ..request() },
        ] {
            assert!(settings_of(&wrong, &defaults, 16 << 20).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn only_what_is_named_changes_and_only_within_bounds() {
        let settings = TopicSettings { batch_bytes_max: 5000, ..TopicSettings::default() };
        let made = |alter: AlterTopic<'_>| SettingChanges::of(&alter).made_to(&settings);
        assert_eq!(made(AlterTopic::default()), Ok(settings));
        let week = AlterTopic { retention_ms: Some(604_800_000), ..AlterTopic::default() };
        let retention = TopicRetention { age_ms: 604_800_000, bytes: 0 };
        assert_eq!(made(week), Ok(TopicSettings { retention, ..settings }));
        for wrong in [
            AlterTopic { retention_ms: Some(1), ..AlterTopic::default() },
            AlterTopic { flush_interval_ms: Some(0), ..AlterTopic::default() },
            AlterTopic { segment_bytes: Some(0), ..AlterTopic::default() },
        ] {
            assert!(made(wrong).is_err(), "{wrong:?}");
        }
    }
}
