//! The operator of groups: looks where a group would go on, resets it, deletes it, asks.
//!
//! As `plimsoll group reset` does it: each place is looked for first, and then all are set at once.
//! What a newcomer gets wrong: of a reset whose answer was lost nobody knows whether it has
//! happened, so that it is not asked again.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use plimsoll_client::{
    AdminReply, AdminRequest, ErrorCode, GroupInfo, Instant, ServerError, Topic,
};
use plimsoll_wire::{
    CommittedOffset, Offset, OffsetsWhat, PartitionIndex, TopicId, TopicPartition, Visible,
};

use super::{Admins, Aim, Asked, Next, Task};
use crate::ledger::{Ledger, Place};
use crate::met::Met;
use crate::positions::{Knowledge, Known, ResetId, Wanted};
use crate::scenario::TopicPlan;

/// A reset that is about to be asked for goes into the books.
pub(super) fn note_question(
    task: &Task,
    plans: &[TopicPlan],
    (ledger, now): (&mut Ledger, Instant),
) -> Option<ResetId> {
    let wanted = |group: &usize, ledger: &Ledger| match task {
        Task::Reset(_, offsets) => (0..).zip(offsets.iter().map(|offset| Some(*offset))).collect(),
        _ => all_none(plans[ledger.groups[*group].plan.topic].partitions),
    };
    match task {
        Task::Reset(group, _) | Task::DeleteGroup(group) => {
            let wanted = wanted(group, ledger);
            Some(ledger.groups[*group].ask_reset(&wanted, (now, ledger.life)))
        }
        _ => None,
    }
}

fn all_none(partitions: u32) -> Wanted {
    (0..partitions).map(|partition| (partition, None)).collect()
}

/// What is asked about groups; nothing while the topic is not known.
pub(super) fn request<'a>(
    task: &Task,
    name: &'a str,
    topics: &BTreeMap<usize, Topic>,
    ledger: &Ledger,
) -> Option<AdminRequest<'a>> {
    Some(match task {
        Task::Locate(_, aims, found, _) => {
            let Some(Aim::At(what)) = aims.get(found.len()) else { return None };
            let partition = u32::try_from(found.len()).unwrap_or(u32::MAX);
            let (what, visible) = (*what, Visible::Disk);
            AdminRequest::Offsets { topic: name, partition, what, visible }
        }
        Task::Reset(group, offsets) => {
            let topic = topics.get(&ledger.groups[*group].plan.topic)?;
            let of_partition = |(partition, offset): (u32, &Offset)| {
                let partition = PartitionIndex(partition);
                (TopicPartition { topic: TopicId(topic.id), partition }, Some(*offset))
            };
            let offsets = (0..).zip(offsets).map(of_partition).collect();
            AdminRequest::ResetOffsets { group: name, offsets }
        }
        Task::DeleteGroup(_) => AdminRequest::DeleteGroup { group: name },
        _ => AdminRequest::DescribeGroup { group: name },
    })
}

impl Admins {
    /// The connection is lost: what must not be asked twice is not asked again.
    pub(super) fn abandon(&mut self) {
        let asked = self.connection.as_mut().and_then(|it| it.asked.take());
        if asked.is_some_and(|it| matches!(it.task, Task::Reset(..) | Task::DeleteGroup(_))) {
            self.tasks.pop_front();
        }
    }

    /// An offset that is said need not be looked for.
    pub(super) fn locate_what_is_said(&mut self) {
        while let Some(Task::Locate(_, aims, found, _)) = self.tasks.front_mut()
            && let Some(Aim::Offset(offset)) = aims.get(found.len())
        {
            found.push(*offset);
            self.go_on_locating();
        }
    }

    /// One more place was found; when it was the last, the group goes on there.
    fn go_on_locating(&mut self) {
        if let Some(Task::Locate(group, aims, found, is_dry)) = self.tasks.front()
            && found.len() == aims.len()
        {
            let reset = Task::Reset(*group, found.clone());
            let is_dry = *is_dry;
            self.tasks.pop_front();
            if !is_dry {
                self.tasks.push_front(reset);
            }
        }
    }

    pub(super) fn take_answer_of_group(
        &mut self,
        asked: &Asked,
        reply: Result<AdminReply, ServerError>,
        ledger: &mut Ledger,
        now: Instant,
    ) -> Next {
        let at = (now, ledger.life);
        match (&asked.task, reply) {
            (Task::Locate(group, aims, found, _), Ok(AdminReply::Offset(offset))) => {
                let partition = u32::try_from(found.len()).unwrap_or(u32::MAX);
                let place = Place { topic: ledger.groups[*group].plan.topic, partition };
                self.located(asked, (place, aims[found.len()]), offset, ledger);
                return Next::GoesOn;
            }
            (Task::Reset(group, offsets), Ok(AdminReply::Committed(answers))) => {
                let outcome = reset_answered((*group, asked), offsets, &answers, (ledger, at));
                ledger.of_group(*group, outcome);
                ledger.meet(Met::Reset);
            }
            (Task::DeleteGroup(group), Ok(AdminReply::Done)) => {
                let book = &mut ledger.groups[*group];
                let done = all_none(self.plans[book.plan.topic].partitions);
                let outcome = asked.reset.map_or(Ok(()), |id| book.reset_done(id, &done, at));
                ledger.of_group(*group, outcome);
                ledger.meet(Met::GroupDeleted);
            }
            (Task::DescribeShare(share), Ok(AdminReply::Group(info))) => {
                for described in &info.share {
                    let topics = self.topics.iter();
                    let mut of_it = topics.filter(|it| it.1.id == described.partition.topic.0);
                    let Some((topic, _)) = of_it.next() else { continue };
                    let partition = described.partition.partition.0;
                    let place = Place { topic: *topic, partition };
                    ledger.saw_share_start(*share, place, described.start);
                }
            }
            (Task::DescribeShare(_), Err(error)) if error.code == ErrorCode::GroupNotFound => {}
            (Task::Reset(group, _) | Task::DeleteGroup(group), Err(error)) => {
                let not_done = [ErrorCode::GroupNotEmpty, ErrorCode::GroupNotFound];
                if let (Some(id), true) = (asked.reset, not_done.contains(&error.code)) {
                    ledger.groups[*group].reset_refused(id);
                    ledger.meet(Met::ResetRefused);
                }
                // Else nobody knows.
            }
            (Task::DescribeGroup(group), Ok(AdminReply::Group(info))) => {
                described(*group, &info, &asked.groups[*group], ledger);
            }
            (Task::DescribeGroup(group), Err(error)) if error.code == ErrorCode::GroupNotFound => {
                let before = &asked.groups[*group];
                if !before.committed.is_empty() && ledger.groups[*group].is_of_now(before) {
                    ledger.of_group(*group, Err("what it has committed is not there".into()));
                }
            }
            // A read has failed; the next start reads again.
            (Task::DescribeGroup(_), Err(error)) if error.code == ErrorCode::DataDamaged => {}
            (_, Err(_)) => return Next::Again,
            (task, Ok(reply)) => ledger.violate(format!("{task:?} is answered {reply:?}")),
        }
        Next::Done(Duration::ZERO)
    }

    fn located(
        &mut self,
        asked: &Asked,
        (place, aim): (Place, Aim),
        offset: Offset,
        ledger: &mut Ledger,
    ) {
        match aim {
            Aim::At(OffsetsWhat::Beginning) => {
                ledger.saw_start(place, offset, asked.start_of(place));
            }
            Aim::At(OffsetsWhat::Timestamp { unix_ms }) => ledger.saw_time(place, unix_ms, offset),
            _ => {}
        }
        if let Some(Task::Locate(_, _, found, _)) = self.tasks.front_mut() {
            found.push(offset);
        }
        self.go_on_locating();
    }
}

/// What became of each offset of a reset.
fn reset_answered(
    (group, asked): (usize, &Asked),
    offsets: &[Offset],
    answers: &[CommittedOffset],
    (ledger, at): (&mut Ledger, (Instant, usize)),
) -> Result<(), String> {
    let mut done = Wanted::new();
    for CommittedOffset { partition, error, committed } in answers {
        let partition = partition.partition.0;
        let Some(wanted) = offsets.get(partition as usize).filter(|_| error.is_none()) else {
            continue;
        };
        done.insert(partition, Some(*wanted));
        if *committed < Some(*wanted) {
            return Err(format!("{partition}: a reset to {wanted} is answered with {committed:?}"));
        }
        ledger.groups[group].told(partition, *committed, &asked.groups[group])?;
    }
    asked.reset.map_or(Ok(()), |id| ledger.groups[group].reset_done(id, &done, at))
}

/// What is said of a group is what was known of it, or more; nothing has two holders.
fn described(group: usize, info: &GroupInfo, before: &Knowledge, ledger: &mut Ledger) {
    let said: Known = info.offsets.iter().map(|it| (it.partition.partition.0, it.offset)).collect();
    let partitions: BTreeSet<u32> = said.keys().chain(before.committed.keys()).copied().collect();
    for partition in partitions {
        let told = ledger.groups[group].told(partition, said.get(&partition).copied(), before);
        ledger.of_group(group, told);
    }
    let mut held = BTreeSet::new();
    for partition in info.members.iter().flat_map(|member| &member.partitions) {
        if !held.insert(partition.partition) {
            let text = format!("{partition:?} has two members in {:?}", info.members);
            ledger.of_group(group, Err(text));
        }
    }
}
