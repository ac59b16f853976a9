//! What was appended and shown, partition by partition.

use plimsoll_batch::{BatchBuilder, Offset};
use plimsoll_storage::{PartitionConfig, Watermarks};

/// A batch as it was appended.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) base: Offset,
    pub(crate) next: Offset,
    pub(crate) bytes: Vec<u8>,
    /// By the world's clock.
    pub(crate) written_ms: i64,
}

/// All that is known of a partition.
#[derive(Clone)]
pub(crate) struct Partition {
    pub(crate) config: PartitionConfig,
    /// In the order of the appends; what a crash took is taken out after it.
    pub(crate) batches: Vec<Batch>,
    /// The last watermarks of this life.
    pub(crate) seen: Option<Watermarks>,
    /// The greatest offset that was ever shown, in any life.
    pub(crate) shown: Offset,
    /// The greatest `disk` watermark of any life.
    pub(crate) disk: Offset,
    /// The greatest start of any life, and the greatest that was asked for.
    pub(crate) start: Offset,
    pub(crate) start_wanted: Offset,
    /// What the clock last said.
    pub(crate) now_ms: i64,
    /// What the next life must have.
    pub(crate) must: Offset,
    /// What is there was compared since the start.
    pub(crate) checked: bool,
    /// Whether the next life may go on with a gap.
    pub(crate) may_jump: bool,
}

impl Partition {
    pub(crate) fn new(config: PartitionConfig) -> Self {
        Self {
            config,
            batches: Vec::new(),
            seen: None,
            shown: Offset::ZERO,
            disk: Offset::ZERO,
            start: Offset::ZERO,
            start_wanted: Offset::ZERO,
            now_ms: 0,
            must: Offset::ZERO,
            checked: false,
            may_jump: false,
        }
    }

    /// Offset after the last batch.
    pub(crate) fn end(&self) -> Offset {
        self.batches.last().map_or(Offset::ZERO, |batch| batch.next)
    }

    /// The batches that a reader at `from` gets, up to `limit`.
    pub(crate) fn expected(&self, from: Offset, limit: Offset) -> &[Batch] {
        let first = self.batches.partition_point(|batch| batch.next <= from);
        let end = self.batches.partition_point(|batch| batch.next <= limit);
        &self.batches[first..end.max(first)]
    }

    /// Nobody asked for a start here: its settings must allow it.
    fn check_may_go(&self, start: Offset) {
        let first = self.batches.partition_point(|batch| batch.next <= start);
        let (gone, kept) = self.batches.split_at(first);
        let kept_bytes: u64 = kept.iter().map(|batch| batch.bytes.len() as u64).sum();
        let is_large = self.config.retention.bytes.is_some_and(|bytes| kept_bytes >= bytes);
        let written_ms = gone.iter().map(|batch| batch.written_ms).max().unwrap_or(0);
        let age_ms = u128::try_from(self.now_ms - written_ms).unwrap_or(0);
        let is_old = self.config.retention.age.is_some_and(|age| age_ms >= age.as_millis());
        assert!(
            is_large || is_old,
            "{start} is not what was asked for, {}, and what is before it is {age_ms} ms old and \
             leaves {kept_bytes} bytes: {:?}",
            self.start_wanted,
            self.config.retention
        );
    }

    /// Takes note of the watermarks; they never go back within a life.
    pub(crate) fn saw(&mut self, marks: Watermarks) {
        assert!(marks.memory >= marks.page_cache, "{marks:?}");
        assert!(marks.page_cache >= marks.disk, "{marks:?}");
        assert!(marks.disk >= marks.start, "{marks:?}");
        if let Some(seen) = self.seen {
            assert!(marks.memory >= seen.memory, "{seen:?} to {marks:?}");
            assert!(marks.page_cache >= seen.page_cache, "{seen:?} to {marks:?}");
            assert!(marks.disk >= seen.disk, "{seen:?} to {marks:?}");
        }
        assert!(marks.start >= self.start, "the start went back from {} to {marks:?}", self.start);
        if marks.start > self.start_wanted {
            self.check_may_go(marks.start);
            self.start_wanted = marks.start;
        }
        self.start = marks.start;
        self.seen = Some(marks);
        self.shown = self.shown.max(marks.memory);
        self.disk = self.disk.max(marks.disk);
    }
}

/// A batch of one record or more, of about `bytes` bytes.
pub(crate) fn batch_of(bytes: usize, records: usize, timestamp_ms: i64, fill: u64) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    let each = (bytes.saturating_sub(70) / records).saturating_sub(10);
    let mut state = fill;
    for record in 0..records {
        let mut value = vec![0; each];
        for chunk in value.chunks_mut(8) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
        }
        builder.append(timestamp_ms + record as i64, None, Some(&value), &[]).unwrap();
    }
    let mut out = Vec::new();
    builder.finish_into(&mut out);
    out
}
