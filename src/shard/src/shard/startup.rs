//! The start: shard 0 reads the topics and tells all; each opens its partitions and seeds; when all
//! have seeded, all serve.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

use plimsoll_wire::ErrorCode;

use super::answers::Problem;
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

    /// Opens what exists, which lets storage remove what does not. Where topics may be missing from
    /// the list nothing is removed: what belongs to none of them is carried along unseen.
    pub(super) fn open_topics(&mut self, topics: &[Arc<Topic>], incomplete: Option<Arc<str>>) {
        for topic in topics {
            self.open_topic(Arc::clone(topic));
        }
        self.open_offset_logs();
        if let Some(why) = incomplete {
            self.catalog.note_incomplete(why);
            self.storage.open_unknown();
        }
        self.storage.finish_opening(self.now);
    }

    /// A topic that is asked for is not in the list: it does not exist, or nobody can tell.
    pub(super) fn no_topic(&self) -> Problem {
        match self.catalog.why_incomplete() {
            None => Problem::new(ErrorCode::TopicNotFound, "the topic does not exist"),
            Some(why) => Problem::new(ErrorCode::DataDamaged, list_is_incomplete(why)),
        }
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

pub(super) fn list_is_incomplete(why: &str) -> String {
    format!("the list of topics is incomplete: {why}: stop the server, run `plimsoll repair`")
}
