//! Requests about consumer groups: to the shard that keeps the group, and carried out there.
//!
//! Membership is memory and is answered at once; committed offsets are `offset_commits.rs`. What a
//! newcomer gets wrong: an answer to one member may change what others are to do, and they are told
//! in the same turn, unasked.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

use plimsoll_storage::PartitionId;
use plimsoll_wire::{
    AssignedPartition, AssignedTopic, Assignment, CorrelationId, ErrorCode, GROUP_NAME_BYTES_MAX,
    GROUP_TOPICS_MAX, Generation, GroupDescription, GroupMode, MemberDescription, MemberId,
    Membership, OffsetDescription, Opcode, PartitionIndex, Request, SESSION_TIMEOUT_MS_MAX,
    SESSION_TIMEOUT_MS_MIN, ShardIndex, TopicId, TopicPartition, encode_empty_response,
};

use super::Shard;
use super::answers::Problem;
use super::decoding::Flow;
use crate::catalog::Catalog;
use crate::connection::{ConnectionId, Hold};
use crate::groups::{
    Group, GroupName, GroupProblem, GroupRequest, JoinRequest, Joining, Member, Share, TopicShape,
    partition_of,
};
use crate::mail::{Client, Ended, Letter};

const SESSION_TIMEOUT_MS: u32 = 10_000;
const REBALANCE_TIMEOUT_MS: u32 = 60_000;

impl Shard {
    /// Brings a request to the shard that keeps the group.
    pub(super) fn group_request(
        &mut self,
        id: ConnectionId,
        correlation: CorrelationId,
        request: &Request<'_>,
    ) -> Flow {
        let Some(request) = GroupRequest::of(request) else { return Flow::Next };
        let length = request.group().len();
        if !(1..=GROUP_NAME_BYTES_MAX).contains(&length) {
            let text = "a group's name has 1 to 249 bytes";
            let problem = Problem::new(ErrorCode::InvalidRequest, text);
            let (client, opcode) = (self.client(id), request.opcode());
            self.answer_problem(client, Ended::NOTHING, opcode, correlation, problem);
            return Flow::Next;
        }
        let keeper = ShardIndex(partition_of(request.group()).owner(self.config.shards));
        let is_here = keeper == self.config.index;
        if !is_here && self.outbox.len() >= self.config.limits.outbox_max {
            return Flow::Hold(Hold::Outbox);
        }
        if !self.begin_request(id) {
            return Flow::Hold(Hold::InFlight);
        }
        let client = self.client(id);
        if is_here {
            self.serve_group(client, correlation, request);
        } else {
            if let Some(connection) = self.connection(id) {
                connection.is_forwarding = true;
            }
            self.counters.forwarded += 1;
            self.post(keeper, Letter::GroupRequest { client, correlation, request });
        }
        Flow::Next
    }

    /// Carries out a request about a group of this shard.
    pub(super) fn serve_group(
        &mut self,
        client: Client,
        correlation: CorrelationId,
        request: GroupRequest,
    ) {
        let opcode = request.opcode();
        let served = match self.check_offset_log(request.group()) {
            Err(problem) => Err(problem),
            Ok(()) => match request {
                GroupRequest::Join(join) => self.serve_join(client, correlation, join),
                GroupRequest::Heartbeat { group, member, generation } => {
                    self.serve_heartbeat(client, correlation, &group, (member, generation))
                }
                GroupRequest::Leave { group, member } => {
                    self.serve_leave(client, correlation, &group, member)
                }
                GroupRequest::Commit(commit) => self.serve_commit(client, correlation, commit),
                GroupRequest::Describe { group, with_share } => {
                    self.serve_describe_group(client, correlation, (&group, with_share))
                }
                GroupRequest::Delete { group } => {
                    self.serve_delete_group(client, correlation, &group)
                }
                GroupRequest::Acquire(acquire) => {
                    self.serve_share_acquire(client, correlation, &acquire)
                }
                GroupRequest::Settle(settle) => {
                    self.serve_share_settle(client, correlation, &settle)
                }
            },
        };
        if let Err(problem) = served {
            self.answer_problem(client, Ended::REQUEST, opcode, correlation, problem);
        }
    }

    fn serve_join(
        &mut self,
        client: Client,
        correlation: CorrelationId,
        join: JoinRequest,
    ) -> Result<(), Problem> {
        check_join(&join)?;
        self.check_share_join(&join)?;
        let limits = &self.config.limits;
        self.check_groups(&join.group)?;
        let group = self.groups.group(&join.group);
        // Who has a place, or takes over that of its former self, makes them no more.
        let is_more = group.is_none_or(|group| !group.has_place(join.member, &join.instance));
        if is_more && self.groups.members() >= limits.group_members_max {
            return Err(Problem::new(ErrorCode::Overloaded, "the shard's limit of members"));
        }
        let first_generation = Generation(self.config.epoch << 32);
        let number = self.groups.next_member(self.config.epoch, self.config.index.0);
        let or = |wanted: u32, default: u32| if wanted == 0 { default } else { wanted };
        let millis = |ms: u32| Duration::from_millis(u64::from(ms));
        let joining = Joining {
            client,
            former: join.member,
            number,
            instance: join.instance,
            name: join.client,
            session_timeout: millis(or(join.session_timeout_ms, SESSION_TIMEOUT_MS)),
            rebalance_timeout: millis(or(join.rebalance_timeout_ms, REBALANCE_TIMEOUT_MS)),
            assignor: join.assignor,
            topics: join.topics.into_iter().collect(),
            owned: join.owned,
            share: join.share,
        };
        let now = self.now.monotonic;
        let group = self.groups.ensure(&join.group);
        let name = group.name();
        let joined = group.join(joining, now, first_generation);
        let joined = joined.map_err(|problem| of_group(&problem));
        let id = match joined {
            Ok(id) => id,
            Err(problem) => {
                self.groups.drop_if_void(&name);
                return Err(problem);
            }
        };
        let changed = group.rebalance(|name| shape_of(&self.catalog, name), now);
        if let Ok(member) = group.member(id) {
            let deadline = member.deadline();
            self.groups.watch(&name, id, deadline);
        }
        self.tell_members(&name, &changed, Some(id));
        self.answer_member(client, correlation, (&name, id), Opcode::JoinGroup, true);
        self.share_changed(&name, false);
        Ok(())
    }

    /// Whether a group may be used: it is there, or there is room for one more.
    pub(super) fn check_groups(&self, group: &str) -> Result<(), Problem> {
        let is_new = self.groups.group(group).is_none();
        if is_new && self.groups.len() >= self.config.limits.groups_max {
            return Err(Problem::new(ErrorCode::Overloaded, "the shard's limit of groups"));
        }
        Ok(())
    }

    fn serve_heartbeat(
        &mut self,
        client: Client,
        correlation: CorrelationId,
        group: &str,
        (id, generation): (MemberId, Generation),
    ) -> Result<(), Problem> {
        let now = self.now.monotonic;
        let unknown = || of_group(&GroupProblem::MemberUnknown);
        let group = self.groups.group_mut(group).ok_or_else(unknown)?;
        let name = group.name();
        let heard = group.heartbeat(id, generation, client, now);
        let has_let_go = heard.map_err(|problem| of_group(&problem))?;
        let changed = if has_let_go { group.settle(now) } else { BTreeSet::new() };
        let is_behind = group.member(id).is_ok_and(|member| member.told != generation);
        self.tell_members(&name, &changed, Some(id));
        self.answer_member(client, correlation, (&name, id), Opcode::Heartbeat, is_behind);
        Ok(())
    }

    fn serve_leave(
        &mut self,
        client: Client,
        correlation: CorrelationId,
        group: &str,
        id: MemberId,
    ) -> Result<(), Problem> {
        let unknown = || of_group(&GroupProblem::MemberUnknown);
        let name = self.groups.group(group).ok_or_else(unknown)?.name();
        self.end_member(&name, id).map_err(|problem| of_group(&problem))?;
        self.answer(client, Ended::REQUEST, |out| {
            encode_empty_response(Opcode::LeaveGroup, correlation, out);
        });
        Ok(())
    }

    /// Ends a member, and gives others what it held.
    fn end_member(&mut self, name: &GroupName, id: MemberId) -> Result<(), GroupProblem> {
        let now = self.now.monotonic;
        let Some(group) = self.groups.group_mut(name) else {
            return Err(GroupProblem::MemberUnknown);
        };
        group.leave(id)?;
        let changed = group.rebalance(|name| shape_of(&self.catalog, name), now);
        self.tell_members(name, &changed, None);
        self.share_changed(name, false);
        self.groups.drop_if_void(name);
        Ok(())
    }

    fn serve_describe_group(
        &mut self,
        client: Client,
        correlation: CorrelationId,
        (name, with_share): (&str, bool),
    ) -> Result<(), Problem> {
        let not_found = || group_not_found(name);
        let now = self.now;
        self.groups.with_share(name, |share| share.expire(now));
        let group = self.groups.group(name).ok_or_else(not_found)?;
        let mut out = Vec::new();
        description_of(group, self.now.monotonic, with_share).encode(correlation, &mut out);
        if out.len() > self.config.limits.frame_bytes_max {
            let text = "the group is too large to be described in a frame";
            return Err(Problem::new(ErrorCode::Overloaded, text));
        }
        self.answer(client, Ended::REQUEST, |to| to.extend_from_slice(&out));
        Ok(())
    }

    /// Looks at the members whose time may be up.
    pub(super) fn expire_members(&mut self) {
        let now = self.now.monotonic;
        while let Some((name, id)) = self.groups.expire(now) {
            let Some(group) = self.groups.group_mut(&name) else { continue };
            if id == MemberId::NONE {
                // Members of the time before the start had their time to claim what they hold.
                let changed = group.settle(now);
                self.tell_members(&name, &changed, None);
                continue;
            }
            let Ok(member) = group.member(id) else { continue };
            let deadline = member.deadline();
            if deadline > now {
                self.groups.watch(&name, id, deadline);
            } else {
                self.counters.members_expired += 1;
                let _ = self.end_member(&name, id);
            }
        }
    }

    /// A topic has come or gone: whoever wants it gets other partitions.
    pub(super) fn topic_changed(&mut self, topic: &str) {
        let wanting = self.groups.iter().filter(|group| group.wants(topic));
        let names: Vec<GroupName> = wanting.map(Group::name).collect();
        let now = self.now.monotonic;
        for name in names {
            let Some(group) = self.groups.group_mut(&name) else { continue };
            let changed = group.rebalance(|name| shape_of(&self.catalog, name), now);
            self.tell_members(&name, &changed, None);
            self.share_changed(&name, true);
        }
        self.dead_letters_changed(topic);
    }

    /// Tells members their new assignment, unasked.
    pub(super) fn tell_members(
        &mut self,
        name: &GroupName,
        changed: &BTreeSet<MemberId>,
        except: Option<MemberId>,
    ) {
        for id in changed.iter().filter(|id| Some(**id) != except) {
            let Some(member) = self.groups.group(name).and_then(|it| it.member(*id).ok()) else {
                continue;
            };
            let (client, deadline) = (member.client, member.deadline());
            let mut out = Vec::new();
            let Some(group) = self.groups.group(name) else { continue };
            let membership = membership_of(group, member, &self.catalog, true);
            Assignment { group: name, membership }.encode(&mut out);
            self.groups.watch(name, *id, deadline);
            self.answer(client, Ended::NOTHING, |to| to.extend_from_slice(&out));
        }
    }

    fn answer_member(
        &mut self,
        client: Client,
        correlation: CorrelationId,
        (name, id): (&GroupName, MemberId),
        opcode: Opcode,
        is_complete: bool,
    ) {
        let mut out = Vec::new();
        if let Some(group) = self.groups.group(name)
            && let Ok(member) = group.member(id)
        {
            let membership = membership_of(group, member, &self.catalog, is_complete);
            membership.encode(opcode, correlation, &mut out);
        }
        self.answer(client, Ended::REQUEST, |to| to.extend_from_slice(&out));
    }
}

fn check_join(join: &JoinRequest) -> Result<(), Problem> {
    let invalid = |text: &'static str| Err(Problem::new(ErrorCode::InvalidRequest, text));
    let bounds = SESSION_TIMEOUT_MS_MIN..=SESSION_TIMEOUT_MS_MAX;
    let is_allowed = |ms: u32| ms == 0 || bounds.contains(&ms);
    if join.instance.len() > GROUP_NAME_BYTES_MAX {
        invalid("an instance's name has at most 249 bytes")
    } else if join.client.len() > GROUP_NAME_BYTES_MAX {
        invalid("a client's name has at most 249 bytes")
    } else if !is_allowed(join.session_timeout_ms) || !is_allowed(join.rebalance_timeout_ms) {
        invalid("session_timeout_ms and rebalance_timeout_ms are from 500 to 3600000")
    } else if join.topics.is_empty() || join.topics.len() > GROUP_TOPICS_MAX as usize {
        invalid("a member wants 1 to 1000 topics")
    } else if let Some(topic) =
        join.topics.iter().find(|topic| !plimsoll_wire::topic_name_is_valid(topic))
    {
        let text = alloc::format!("{topic:?} is not the name of a topic");
        Err(Problem::new(ErrorCode::InvalidRequest, text))
    } else {
        Ok(())
    }
}

fn shape_of(catalog: &Catalog, name: &str) -> Option<TopicShape> {
    let topic = catalog.named(name)?;
    Some(TopicShape { id: TopicId(topic.id), partitions: topic.partitions })
}

fn membership_of<'a>(
    group: &Group,
    member: &Member,
    catalog: &'a Catalog,
    is_complete: bool,
) -> Membership<'a> {
    let topic = |(id, partitions): (TopicId, Vec<(PartitionIndex, Option<_>)>)| {
        let assigned = |(partition, committed)| AssignedPartition { partition, committed };
        let topic = catalog.with_id(id.0)?;
        let partitions = partitions.into_iter().map(assigned).collect();
        Some(AssignedTopic { topic: &topic.name, id, partitions })
    };
    Membership {
        member: member.id,
        generation: member.told,
        heartbeat_interval_ms: member.heartbeat_interval_ms(),
        topics: is_complete
            .then(|| group.assignment(member).into_iter().filter_map(topic).collect()),
    }
}

fn description_of(
    group: &Group,
    now: plimsoll_device::Instant,
    with_share: bool,
) -> GroupDescription<'_> {
    let member = |member: &'_ Member| {
        let idle = now.since(member.heard_at).as_millis();
        (u32::try_from(idle).unwrap_or(u32::MAX), member.assigned.keys().copied().collect())
    };
    let members = group.members.values().map(|it| {
        let (idle_ms, partitions): (u32, Vec<TopicPartition>) = member(it);
        let (instance, client) = (it.instance.as_str(), it.name.as_str());
        MemberDescription { member: it.id, instance, client, idle_ms, partitions }
    });
    let offsets = group.places.iter().filter_map(|(partition, place)| {
        let committed = place.durable.as_ref()?;
        Some(OffsetDescription {
            partition: *partition,
            offset: committed.offset,
            unix_ms: committed.unix_ms,
            metadata: &committed.metadata,
        })
    });
    let starts = group.share.iter().flat_map(Share::starts);
    let starts = starts.map(|(partition, offset)| OffsetDescription {
        partition,
        offset,
        unix_ms: 0,
        metadata: "",
    });
    let share = group.share.as_ref().filter(|_| with_share);
    GroupDescription {
        state: group.state(),
        mode: if with_share { group.mode() } else { GroupMode::Classic },
        assignor: group.assignor,
        generation: group.generation,
        members: members.collect(),
        offsets: offsets.chain(starts).collect(),
        share: share.map(Share::describe).unwrap_or_default(),
    }
}

/// Why a group does not do what it is asked, for the client.
pub(super) fn of_group(problem: &GroupProblem) -> Problem {
    let (code, detail_a) = match problem {
        GroupProblem::MemberUnknown => (ErrorCode::MemberUnknown, 0),
        GroupProblem::MemberFenced => (ErrorCode::MemberFenced, 0),
        GroupProblem::OtherAssignor(_)
        | GroupProblem::OtherMode(_)
        | GroupProblem::OtherSettings(_) => (ErrorCode::GroupMismatch, 0),
        GroupProblem::NotEmpty(members) => (ErrorCode::GroupNotEmpty, *members as u64),
    };
    Problem { detail_a, ..Problem::new(code, problem.text()) }
}

pub(super) fn group_not_found(name: &str) -> Problem {
    Problem::new(ErrorCode::GroupNotFound, alloc::format!("there is no group {name}"))
}

/// The partition as storage knows it.
pub(super) fn storage_id(partition: TopicPartition) -> PartitionId {
    PartitionId { topic: partition.topic.0, partition: partition.partition.0 }
}
