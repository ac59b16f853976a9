//! Which partition a record goes to when its producer does not say.
//!
//! With a key: murmur2 of the key, as Kafka's clients do it, so that the same key finds the same
//! partition whichever client wrote it. Without: one partition until its batch is closed, then the
//! next (*sticky*), because a few large batches cost less than many small ones.

/// Chooses partitions for the records of one topic.
#[derive(Clone, Debug)]
pub(crate) struct Partitioner {
    partitions: u32,
    sticky: u32,
}

impl Partitioner {
    /// Keyless records begin at `first`: producers that start together should not all pick 0.
    pub(crate) fn new(partitions: u32, first: u32) -> Partitioner {
        assert!(partitions > 0, "a topic has at least one partition");
        Partitioner { partitions, sticky: first % partitions }
    }

    pub(crate) fn partition(&self, key: Option<&[u8]>) -> u32 {
        match key {
            Some(key) => partition_of_key(key, self.partitions),
            None => self.sticky,
        }
    }

    /// The batch of `partition` was closed: keyless records move on.
    pub(crate) fn batch_closed(&mut self, partition: u32) {
        if partition == self.sticky {
            self.sticky = (self.sticky + 1) % self.partitions;
        }
    }
}

/// The partition of a key, the same as Kafka's clients choose.
///
/// # Panics
///
/// If `partitions` is 0.
#[must_use]
pub fn partition_of_key(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key).cast_unsigned() & 0x7fff_ffff) % partitions
}

/// The 32-bit murmur2 hash with the seed of Kafka's clients
/// (`org.apache.kafka.common.utils.Utils.murmur2`).
#[must_use]
pub fn murmur2(bytes: &[u8]) -> i32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let mut hash = SEED ^ bytes.len() as u32;
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    (hash ^ (hash >> 15)).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::{Partitioner, murmur2, partition_of_key};

    #[test]
    fn murmur2_gives_the_values_of_kafkas_own_test() {
        let known: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (key, hash) in known {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
        }
    }

    #[test]
    fn a_negative_hash_still_finds_a_partition() {
        assert_eq!(partition_of_key(b"21", 7), ((-973_932_308_i32) & 0x7fff_ffff) as u32 % 7);
    }

    #[test]
    fn keyless_records_stay_until_the_batch_is_closed_and_then_go_round() {
        let mut partitioner = Partitioner::new(3, 5);
        assert_eq!(partitioner.partition(None), 2);
        partitioner.batch_closed(1);
        assert_eq!(partitioner.partition(None), 2);
        partitioner.batch_closed(2);
        assert_eq!(partitioner.partition(None), 0);
    }
}
