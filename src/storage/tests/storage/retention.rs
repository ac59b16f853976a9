//! Segments that go by themselves: by size, by age, never too early, never one too many.

use plimsoll_batch::Offset;
use plimsoll_sim::Survival;
use plimsoll_storage::{Level, PartitionConfig, Retention};

use crate::model::batch_of;
use crate::world::{CONFIG, Crash, Settings, World, id};

const FINE: &str = "nothing cuts it";
const SEGMENT_BYTES: u64 = 150_000;
const KEPT_BYTES: u64 = 400_000;

fn keeping(bytes: u64) -> PartitionConfig {
    let retention = Retention { bytes: Some(bytes), ..Retention::UNLIMITED };
    PartitionConfig { segment_bytes: SEGMENT_BYTES, retention, ..CONFIG }
}

fn fill(world: &mut World, batches: u64, bytes: usize) {
    for turn in 0..batches {
        let bytes = batch_of(bytes, 2, turn as i64, turn);
        world.append(id(1, 0), &bytes, Level::Disk).expect(FINE);
        world.step().expect(FINE);
    }
    world.settle().expect(FINE);
}

/// Bytes of the batches from the start on.
fn kept_bytes(world: &World) -> u64 {
    let partition = &world.model[&id(1, 0)];
    let kept = partition.batches.iter().filter(|batch| batch.next > partition.start);
    kept.map(|batch| batch.bytes.len() as u64).sum()
}

#[test]
fn a_partition_keeps_what_its_size_says_and_less_than_a_segment_more() {
    let mut world = World::new(1, Settings::default());
    world.create(id(1, 0), keeping(KEPT_BYTES));
    world.start(1).expect(FINE);
    fill(&mut world, 60, 20_000);
    let kept = kept_bytes(&world);
    assert!((KEPT_BYTES..KEPT_BYTES + SEGMENT_BYTES).contains(&kept), "{kept} bytes are kept");
    world.check_files();
    let files = world.segments(id(1, 0));
    assert_eq!(files.first(), Some(&world.model[&id(1, 0)].start.value()), "{files:?}");
    world.crash(Crash::Power(Survival::Nothing));
    world.start(2).expect(FINE);
    fill(&mut world, 20, 20_000);
    let kept = kept_bytes(&world);
    assert!((KEPT_BYTES..KEPT_BYTES + SEGMENT_BYTES).contains(&kept), "{kept} bytes are kept");
}

#[test]
fn a_partition_without_retention_keeps_everything() {
    let mut world = World::new(2, Settings::default());
    world.create(id(1, 0), PartitionConfig { segment_bytes: SEGMENT_BYTES, ..CONFIG });
    world.start(1).expect(FINE);
    fill(&mut world, 60, 20_000);
    world.advance(std::time::Duration::from_secs(10 * 365 * 24 * 3600));
    world.settle().expect(FINE);
    assert_eq!(world.model[&id(1, 0)].start, Offset::ZERO);
    assert_eq!(world.life().shards[0].poll_timeout(), None, "nobody is waited for");
}

#[test]
fn a_size_that_is_set_later_takes_effect_at_once_and_at_the_next_start() {
    let mut world = World::new(3, Settings::default());
    world.create(id(1, 0), PartitionConfig { segment_bytes: SEGMENT_BYTES, ..CONFIG });
    world.start(1).expect(FINE);
    fill(&mut world, 60, 20_000);
    world.set_config(id(1, 0), keeping(KEPT_BYTES));
    world.settle().expect(FINE);
    let kept = kept_bytes(&world);
    assert!((KEPT_BYTES..KEPT_BYTES + SEGMENT_BYTES).contains(&kept), "{kept} bytes are kept");
    world.stop().expect(FINE);
    let partition = world.model.get_mut(&id(1, 0)).expect("in the model");
    partition.config = keeping(1);
    world.start(1).expect(FINE);
    world.settle().expect(FINE);
    let kept = kept_bytes(&world);
    assert!((1..SEGMENT_BYTES).contains(&kept), "{kept} bytes are kept");
    world.check_files();
}
