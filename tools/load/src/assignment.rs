//! Which connection serves which partitions.
//!
//! A connection talks to one shard, and the partitions of that shard are dealt out among its
//! connections. Only when there are fewer connections than shards does a connection take partitions
//! of several, whose frames the server then forwards.

use std::collections::BTreeMap;

use plimsoll_wire::ShardIndex;

/// What one connection serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub(crate) shard: ShardIndex,
    pub(crate) partitions: Vec<u32>,
}

/// Deals out the partitions, whose shards are given, to `connections`. Where there are more
/// connections than partitions, several share one, unless each partition may have only one.
pub(crate) fn assign(shards: &[ShardIndex], connections: u32, is_shared: bool) -> Vec<Assignment> {
    let mut groups: BTreeMap<ShardIndex, Vec<u32>> = BTreeMap::new();
    for (partition, shard) in (0_u32..).zip(shards) {
        groups.entry(*shard).or_default().push(partition);
    }
    let groups: Vec<(ShardIndex, Vec<u32>)> = groups.into_iter().collect();
    let connections = connections.max(1) as usize;
    let mut assignments = Vec::with_capacity(connections);
    for connection in 0..connections {
        let mut own = groups.iter().enumerate();
        if connections < groups.len() {
            let of_own = own.filter(|(group, _)| group % connections == connection);
            let of_own: Vec<&(ShardIndex, Vec<u32>)> = of_own.map(|(_, group)| group).collect();
            let partitions = of_own.iter().flat_map(|(_, partitions)| partitions).copied();
            let shard = of_own.first().map_or(ShardIndex::ANY, |(shard, _)| *shard);
            assignments.push(Assignment { shard, partitions: partitions.collect() });
            continue;
        }
        let group = connection % groups.len().max(1);
        let Some((_, (shard, partitions))) = own.nth(group) else { break };
        let place = connection / groups.len();
        let sharers = (connections - group).div_ceil(groups.len());
        let partitions = if sharers <= partitions.len() {
            partitions.iter().copied().skip(place).step_by(sharers).collect()
        } else if is_shared || place < partitions.len() {
            vec![partitions[place % partitions.len()]]
        } else {
            Vec::new()
        };
        assignments.push(Assignment { shard: *shard, partitions });
    }
    assignments.retain(|assignment| !assignment.partitions.is_empty());
    assignments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(shards: &[u16], connections: u32, is_shared: bool) -> Vec<(u16, Vec<u32>)> {
        let shards: Vec<ShardIndex> = shards.iter().copied().map(ShardIndex).collect();
        let assignments = assign(&shards, connections, is_shared);
        assignments.into_iter().map(|a| (a.shard.0, a.partitions)).collect()
    }

    #[test]
    fn each_connection_talks_to_one_shard_and_every_partition_is_served() {
        let expected = [(0, vec![0, 4]), (1, vec![1, 5]), (0, vec![2]), (1, vec![3])];
        assert_eq!(assigned(&[0, 1, 0, 1, 0, 1], 4, true), expected);
    }

    #[test]
    fn fewer_connections_than_shards_share_them_out() {
        assert_eq!(assigned(&[0, 1, 2], 2, true), [(0, vec![0, 2]), (1, vec![1])]);
    }

    #[test]
    fn more_connections_than_partitions_share_a_partition_only_where_they_may() {
        assert_eq!(assigned(&[0], 3, true), [(0, vec![0]), (0, vec![0]), (0, vec![0])]);
        assert_eq!(assigned(&[0], 3, false), [(0, vec![0])]);
    }
}
