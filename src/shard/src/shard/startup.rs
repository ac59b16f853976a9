//! The start: shard 0 reads the topics and tells all; each opens its partitions and seeds; when all
//! have seeded, all serve.

use alloc::sync::Arc;

use super::metadata::Metadata;
use super::{Phase, Shard};
use crate::catalog::Topic;
use crate::report::Report;

impl Shard {
    pub(super) fn begin(&mut self) {
        if let Some(damage) = self.storage.journal_damage() {
            self.reports.push_back(Report::Damaged(damage.clone()));
        }
        if self.config.index.0 == 0 {
            let fresh_bytes_min = self.config.limits.metadata_fresh_bytes_min;
            self.metadata = Some(Metadata::open(&mut self.storage, fresh_bytes_min));
            self.read_metadata();
        }
    }

    /// Opens what exists, which lets storage remove what does not.
    pub(super) fn open_topics(&mut self, topics: &[Arc<Topic>]) {
        for topic in topics {
            self.open_topic(Arc::clone(topic));
        }
        self.open_offset_logs();
        self.storage.finish_opening(self.now);
    }

    pub(super) fn all_have_seeded(&mut self) {
        self.storage.all_seeded();
        if self.phase == Phase::Starting {
            self.phase = Phase::Serving;
            self.reports.push_back(Report::Serving);
            self.read_offset_logs();
        }
    }
}
