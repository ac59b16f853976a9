//! Who gets which partition.
//!
//! Two ways, both deterministic: *sticky* keeps what is held as long as the shares stay even, and
//! *range* gives neighbours of a topic to one member. What a newcomer gets wrong: this says who is
//! to have a partition, not who has it. It may have to be let go first (`group.rs`).

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use plimsoll_wire::{Assignor, MemberId, PartitionIndex, TopicId, TopicPartition};

/// A member, and the topics that it wants.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) member: MemberId,
    /// What members are put in order by, where an order matters; then their numbers.
    pub(super) rank: alloc::string::String,
    pub(super) topics: BTreeSet<TopicId>,
}

/// How many partitions each topic has.
pub(super) type Topics = BTreeMap<TopicId, u32>;
pub(super) type Shares = BTreeMap<TopicPartition, MemberId>;

/// Who has partitions, and who is to have them by an earlier call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before<'a> {
    pub(super) targets: &'a Shares,
    pub(super) holders: &'a Shares,
}

/// Shares the partitions of `topics` out among those who want them.
pub(super) fn assign(
    assignor: Assignor,
    candidates: &[Candidate],
    topics: &Topics,
    before: Before<'_>,
) -> Shares {
    match assignor {
        Assignor::Range => range(candidates, topics),
        Assignor::Sticky if are_alike(candidates) => sticky_alike(candidates, topics, before),
        Assignor::Sticky => sticky(candidates, topics, before.targets),
    }
}

fn are_alike(candidates: &[Candidate]) -> bool {
    candidates.windows(2).all(|pair| pair[0].topics == pair[1].topics)
}

fn partitions_of(topics: &Topics) -> impl Iterator<Item = TopicPartition> {
    topics.iter().flat_map(|(topic, partitions)| {
        let of = |partition| TopicPartition { topic: *topic, partition: PartitionIndex(partition) };
        (0..*partitions).map(of)
    })
}

fn range(candidates: &[Candidate], topics: &Topics) -> Shares {
    let mut shares = Shares::new();
    for (topic, partitions) in topics {
        let mut members: Vec<&Candidate> =
            candidates.iter().filter(|candidate| candidate.topics.contains(topic)).collect();
        members.sort_unstable_by_key(|candidate| (&candidate.rank, candidate.member));
        let Ok(count) = u32::try_from(members.len()) else { continue };
        if count == 0 {
            continue;
        }
        let (share, extra) = (partitions / count, partitions % count);
        let mut next = 0;
        for (index, candidate) in (0_u32..).zip(members) {
            let end = next + share + u32::from(index < extra);
            for partition in next..end {
                let partition = PartitionIndex(partition);
                shares.insert(TopicPartition { topic: *topic, partition }, candidate.member);
            }
            next = end;
        }
    }
    shares
}

/// All want the same: shares differ by one at most, and who holds most keeps the larger ones.
fn sticky_alike(candidates: &[Candidate], topics: &Topics, before: Before<'_>) -> Shares {
    let Some(first) = candidates.first() else { return Shares::new() };
    let wanted = topics.iter().filter(|(topic, _)| first.topics.contains(topic));
    let wanted: Topics = wanted.map(|(topic, partitions)| (*topic, *partitions)).collect();
    let mut own: BTreeMap<MemberId, Vec<TopicPartition>> =
        candidates.iter().map(|candidate| (candidate.member, Vec::new())).collect();
    let mut free = VecDeque::new();
    for partition in partitions_of(&wanted) {
        match before.targets.get(&partition).and_then(|member| own.get_mut(member)) {
            Some(of_member) => of_member.push(partition),
            None => free.push_back(partition),
        }
    }
    let total = free.len() + own.values().map(Vec::len).sum::<usize>();
    let (share, extra) = (total / candidates.len(), total % candidates.len());
    let mut order: Vec<(usize, MemberId)> =
        own.iter().map(|(member, of_member)| (of_member.len(), *member)).collect();
    order.sort_unstable_by_key(|(count, member)| (usize::MAX - count, *member));
    let shares_of = |index: usize| share + usize::from(index < extra);
    for (index, (_, member)) in order.iter().enumerate() {
        if let Some(of_member) = own.get_mut(member) {
            // What it was only going to have goes first.
            of_member.sort_by_key(|partition| before.holders.get(partition) != Some(member));
            let kept = of_member.len().min(shares_of(index));
            free.extend(of_member.drain(kept..));
        }
    }
    for (index, (_, member)) in order.iter().enumerate() {
        if let Some(of_member) = own.get_mut(member) {
            while of_member.len() < shares_of(index)
                && let Some(partition) = free.pop_front()
            {
                of_member.push(partition);
            }
        }
    }
    let pairs = own.into_iter().flat_map(|(member, of_member)| {
        of_member.into_iter().map(move |partition| (partition, member))
    });
    pairs.collect()
}

/// Rounds in which shares are evened out; each moves every partition at most once.
const ROUNDS_MAX: usize = 32;

/// Not all want the same: from whoever has most to whoever has least, as far as they want it.
fn sticky(candidates: &[Candidate], topics: &Topics, held: &Shares) -> Shares {
    let mut counts: BTreeMap<MemberId, usize> =
        candidates.iter().map(|candidate| (candidate.member, 0)).collect();
    let wants: BTreeMap<MemberId, &BTreeSet<TopicId>> =
        candidates.iter().map(|candidate| (candidate.member, &candidate.topics)).collect();
    let least = |counts: &BTreeMap<MemberId, usize>, topic: TopicId| {
        let those = candidates.iter().filter(|candidate| candidate.topics.contains(&topic));
        let counted = those.map(|it| (counts.get(&it.member).copied().unwrap_or(0), it.member));
        counted.min()
    };
    let mut shares = Shares::new();
    let mut free = Vec::new();
    for partition in partitions_of(topics) {
        let holder = held.get(&partition).copied();
        let keeps = |member| wants.get(&member).is_some_and(|it| it.contains(&partition.topic));
        match holder.filter(|member| keeps(*member)) {
            Some(member) => {
                *counts.entry(member).or_default() += 1;
                shares.insert(partition, member);
            }
            None => free.push(partition),
        }
    }
    for partition in free {
        if let Some((_, member)) = least(&counts, partition.topic) {
            *counts.entry(member).or_default() += 1;
            shares.insert(partition, member);
        }
    }
    for _ in 0..ROUNDS_MAX {
        let mut has_moved = false;
        for (partition, member) in &mut shares {
            let Some((fewest, other)) = least(&counts, partition.topic) else { continue };
            if counts.get(member).is_some_and(|count| *count >= fewest + 2) {
                *counts.entry(*member).or_default() -= 1;
                *counts.entry(other).or_default() += 1;
                *member = other;
                has_moved = true;
            }
        }
        if !has_moved {
            break;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(member: u64, topics: &[u32]) -> Candidate {
        let topics = topics.iter().map(|topic| TopicId(*topic)).collect();
        let rank = alloc::string::String::new();
        Candidate { member: MemberId(member), rank, topics }
    }

    fn topics(partitions: &[(u32, u32)]) -> Topics {
        partitions.iter().map(|(topic, count)| (TopicId(*topic), *count)).collect()
    }

    fn anew(assignor: Assignor, members: &[Candidate], topics: &Topics) -> Shares {
        assign(assignor, members, topics, held(&Shares::new()))
    }

    fn held(shares: &Shares) -> Before<'_> {
        Before { targets: shares, holders: shares }
    }

    fn counts(shares: &Shares) -> BTreeMap<u64, usize> {
        let mut counts = BTreeMap::new();
        for member in shares.values() {
            *counts.entry(member.0).or_default() += 1;
        }
        counts
    }

    fn moved(before: &Shares, after: &Shares) -> usize {
        before.iter().filter(|(partition, member)| after.get(partition) != Some(member)).count()
    }

    #[test]
    fn sticky_shares_are_even_and_only_what_must_moves() {
        let topics = topics(&[(1, 7), (2, 5)]);
        let mut members = alloc::vec![candidate(1, &[1, 2])];
        let mut shares = anew(Assignor::Sticky, &members, &topics);
        assert_eq!(shares.len(), 12);
        for (number, expected) in (2_u64..).zip([6, 4, 3, 2]) {
            members.push(candidate(number, &[1, 2]));
            let next = assign(Assignor::Sticky, &members, &topics, held(&shares));
            let counts = counts(&next);
            let (least, most) = (counts.values().min(), counts.values().max());
            assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1), "{counts:?}");
            assert_eq!(moved(&shares, &next), expected, "with {number} members");
            shares = next;
        }
        members.remove(0);
        let next = assign(Assignor::Sticky, &members, &topics, held(&shares));
        let gone = shares.values().filter(|member| member.0 == 1).count();
        assert_eq!(moved(&shares, &next), gone, "only those of the member that left");
    }

    #[test]
    fn whoever_wants_a_topic_alone_gets_all_of_it() {
        let topics = topics(&[(1, 4), (2, 4)]);
        let members = [candidate(1, &[1]), candidate(2, &[1, 2])];
        let shares = anew(Assignor::Sticky, &members, &topics);
        assert_eq!(counts(&shares), BTreeMap::from([(1, 4), (2, 4)]), "{shares:?}");
        let again = assign(Assignor::Sticky, &members, &topics, held(&shares));
        assert_eq!(again, shares);
    }

    #[test]
    fn range_gives_neighbours_and_the_first_members_one_more() {
        let topics = topics(&[(1, 5)]);
        let members = [candidate(9, &[1]), candidate(3, &[1])];
        let shares = anew(Assignor::Range, &members, &topics);
        let order: Vec<u64> = shares.values().map(|member| member.0).collect();
        assert_eq!(order, [3, 3, 3, 9, 9]);
    }

    #[test]
    fn nobody_gets_what_nobody_wants_and_nothing_is_given_twice() {
        for assignor in Assignor::ALL {
            let topics = topics(&[(1, 3), (2, 3)]);
            let none = anew(assignor, &[], &topics);
            assert!(none.is_empty());
            let members = [candidate(1, &[1]), candidate(2, &[3])];
            let shares = anew(assignor, &members, &topics);
            assert_eq!(shares.len(), 3, "{shares:?}");
            assert!(shares.values().all(|member| member.0 == 1));
        }
    }
}
