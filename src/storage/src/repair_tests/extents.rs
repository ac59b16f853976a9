//! Repairs of extents, of which the journal has one CRC for many batches.
//!
//! What a newcomer gets wrong: an extent begins where a block does, within a batch as a rule.

use super::*;

/// A partition of a large record, which has its file made, and a small one, and three batches that
/// went to the segment as one extent.
fn three_in_one_extent() -> Copy {
    let mut disk = Disk::new(&Random::new(13));
    let mut life = Life::begin(&mut disk, &ALL);
    life.append(&mut disk, PartitionId::METADATA, &created(1, 2));
    life.append(&mut disk, PartitionId::METADATA, &created(2, 1));
    life.append(&mut disk, ORDERS[0], &[0; 70_000]);
    life.append(&mut disk, ORDERS[0], b"small");
    let values: Vec<Vec<u8>> = (1..4).map(|fill| vec![fill; 30_000]).collect();
    let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    let before = life.storage.counters().extent_bytes;
    life.append_together(&mut disk, ORDERS[0], &values);
    assert!(life.storage.counters().extent_bytes >= before + 88_000, "one extent");
    for _ in 0..3 {
        life.append(&mut disk, ORDERS[0], b"behind");
    }
    life.stop(&mut disk);
    Copy::of(&disk)
}

/// Where batches begin in a partition's bytes, and the end.
fn places(bytes: &[u8]) -> Vec<usize> {
    let mut places = vec![0];
    while let Some(header) = bytes
        .get(places[places.len() - 1]..)
        .and_then(|rest| plimsoll_batch::BatchHeader::decode(rest).ok())
    {
        places.push(places[places.len() - 1] + header.length_bytes);
    }
    places
}

fn cuts(lines: &[RepairLine]) -> Vec<Cut> {
    let cut = |line: &RepairLine| match line {
        RepairLine::Cut(cut) => Some(cut.clone()),
        _ => None,
    };
    lines.iter().filter_map(cut).collect()
}

/// One rotten byte at the end of an extent cost all of it, and the end of the batch before it: in a
/// server's directory, 7,391 records that a consumer had just read.
#[test]
fn of_a_damaged_extent_the_batches_before_the_damaged_one_stay() {
    let sound = three_in_one_extent();
    let before = content(&sound);
    let whole = &before[&ORDERS[0]].bytes;
    let places = places(whole);
    for damaged in 2..5 {
        let mut files = sound.clone();
        files.flip(&segment_path(ORDERS[0], Offset::ZERO), (places[damaged] + 20_000) * 8);
        let after = content(&assert_repairs(&files, &before, "a batch of an extent"));
        assert_eq!(after[&ORDERS[0]].bytes, whole[..places[damaged]], "batch {damaged}");
    }
}

/// The bytes of a batch's front are under no check of its own. One that is changed and fits all the
/// same betrays itself by the extent's CRC only, and then no batch of it is believed.
#[test]
fn of_a_damaged_extent_whose_batches_all_check_none_stays() {
    let mut disk = Disk::new(&Random::new(14));
    let mut life = Life::begin(&mut disk, &ALL);
    life.append(&mut disk, PartitionId::METADATA, &created(1, 2));
    life.append(&mut disk, PartitionId::METADATA, &created(2, 1));
    life.append(&mut disk, ORDERS[0], &[1; 5_000]);
    life.append(&mut disk, ORDERS[0], b"small");
    drop(life);
    disk.power_loss();
    let mut life = Life::begin(&mut disk, &ALL);
    life.append(&mut disk, ORDERS[0], &[2; 70_000]);
    drop(life);
    disk.power_loss();
    let mut life = Life::begin(&mut disk, &ALL);
    // Its file is there already: an extent, from the block on in which the batch before ends.
    life.append(&mut disk, ORDERS[0], &[3; 70_000]);
    drop(life);
    disk.power_loss();
    let mut life = Life::begin(&mut disk, &ALL);
    life.append(&mut disk, ORDERS[0], b"behind another gap");
    drop(life);
    let sound = Copy::of(&disk);
    let before = content(&sound);
    let whole = &before[&ORDERS[0]].bytes;
    let places = places(whole);
    // Of a batch behind offsets that were left out: one offset fits as well as another.
    let mut files = sound.clone();
    files.flip(&segment_path(ORDERS[0], Offset::ZERO), (places[3] + 6) * 8);
    let after = content(&assert_repairs(&files, &before, "an offset that fits"));
    assert_eq!(after[&ORDERS[0]].bytes, whole[..places[2]]);
}

/// The offset of the first batch behind a gap is confirmed by the batch behind it alone. Where the
/// two did not fit the later one was cut, and the first stayed under an offset that is not its own.
#[test]
fn a_first_batch_whose_offset_the_next_does_not_follow_on_is_cut_too() {
    let sound = directory(true);
    let before = content(&sound);
    let whole = &before[&ORDERS[0]].bytes;
    let places = places(whole);
    let headers: Vec<_> = places[..places.len() - 1]
        .iter()
        .map(|at| plimsoll_batch::BatchHeader::decode(&whole[*at..]).unwrap())
        .collect();
    let first = headers.windows(2).position(|two| two[1].base_offset > two[0].next_offset());
    let first = first.unwrap() + 1;
    let segment = headers[..=first].iter().map(|header| header.base_offset);
    let files = sound.0.keys().filter(|path| path.starts_with("topics/1/0/"));
    let bases: Vec<u64> = files
        .filter(|path| path.ends_with(".segment"))
        .map(|path| path[11..31].parse().unwrap())
        .collect();
    let base = segment.rev().find(|offset| bases.contains(&offset.value())).unwrap();
    let begin = headers.iter().position(|header| header.base_offset == base).unwrap();
    let at = places[first] - places[begin];
    let mut files = sound.clone();
    files.flip(&segment_path(ORDERS[0], base), (at + 6) * 8);
    // No extent tells either.
    files.0.remove(JOURNAL);
    let after = content(&assert_repairs(&files, &before, "an offset behind a gap"));
    assert!(after[&ORDERS[0]].bytes.len() <= places[first]);
}

/// An extent may end in the padding behind a sealed segment's data. What rots there costs nothing.
#[test]
fn damage_of_the_padding_in_an_extent_costs_no_record() {
    let sound = directory(true);
    let before = content(&sound);
    let started = start(&mut disk_of(&sound));
    let sealed = &started.partitions[&ORDERS[0]].sealed;
    let padded: Vec<_> = sealed.iter().filter(|it| it.length_bytes % 4096 != 0).collect();
    assert!(!padded.is_empty());
    for segment in padded {
        let mut files = sound.clone();
        let bit = (segment.length_bytes as usize).next_multiple_of(BLOCK_BYTES) * 8 - 1;
        files.flip(&segment_path(ORDERS[0], segment.base), bit);
        let (_, lines) = repaired(&mut files.clone(), "first");
        assert_eq!(cuts(&lines), [], "{}", segment.base);
        let after = content(&assert_repairs(&files, &before, "padding"));
        assert_eq!(after[&ORDERS[0]].bytes, before[&ORDERS[0]].bytes);
    }
}
