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

use super::{Admins, Aim, Asked, Next, Noted, Task};
use crate::client::member::name_of_group;
use crate::client::name_of_share;
use crate::deliveries::{WantedStarts, When};
use crate::ledger::{Ledger, Place};
use crate::met::Met;
use crate::positions::{Knowledge, Known, Wanted};
use crate::scenario::{SharePlan, TopicPlan};

/// A group that is administered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The consumer group of this number.
    Group(usize),
    /// The group in share mode of this number, and the topic that it is about.
    Share(usize, usize),
}

impl Whose {
    /// The topic that is looked at.
    pub(super) fn topic(self, ledger: &Ledger) -> usize {
        match self {
            Self::Group(group) => ledger.groups[group].plan.topic,
            Self::Share(_, topic) => topic,
        }
    }

    pub(super) fn name(self) -> String {
        match self {
            Self::Group(group) => name_of_group(group),
            Self::Share(share, _) => name_of_share(share),
        }
    }
}

/// A reset that is about to be asked for goes into the books.
pub(super) fn note_question(
    task: &Task,
    plans: &[TopicPlan],
    (ledger, now): (&mut Ledger, Instant),
) -> Option<Noted> {
    let (whose, offsets) = match task {
        Task::Reset(whose, offsets) => (*whose, Some(&offsets[..])),
        Task::DeleteGroup(whose) => (*whose, None),
        _ => return None,
    };
    Some(match whose {
        Whose::Group(group) => {
            let all = || all_none(plans[ledger.groups[group].plan.topic].partitions);
            let some = |offset: &Offset| Some(*offset);
            let wanted = offsets.map_or_else(all, |of| (0..).zip(of.iter().map(some)).collect());
            let id = ledger.groups[group].ask_reset(&wanted, (now, ledger.life));
            Noted::Group(group, id)
        }
        Whose::Share(share, topic) => {
            let place = |partition| Place { topic, partition };
            let wanted = match offsets {
                Some(of) => (0..).map(place).zip(of.iter().copied().map(Some)).collect(),
                None => nowhere(&ledger.shares[share].plan, plans),
            };
            let when = when(ledger);
            let id = ledger.shares[share].ask_reset(&wanted, when);
            Noted::Share(share, id)
        }
    })
}

fn all_none(partitions: u32) -> Wanted {
    (0..partitions).map(|partition| (partition, None)).collect()
}

/// Everything that a group in share mode consumes is forgotten.
fn nowhere(plan: &SharePlan, plans: &[TopicPlan]) -> WantedStarts {
    let places = plan.topics.iter().flat_map(|topic| {
        (0..plans[*topic].partitions).map(|partition| Place { topic: *topic, partition })
    });
    places.map(|place| (place, None)).collect()
}

fn when(ledger: &Ledger) -> When {
    When { now_ms: ledger.steady_ms(), life: ledger.life }
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
        Task::Reset(whose, offsets) => {
            let topic = topics.get(&whose.topic(ledger))?;
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

    /// What is not a group in share mode would become another one by being reset, and one that was
    /// found may have gone with the process.
    pub(super) fn leave_what_is_not_there(&mut self, life: usize) {
        while let Some(Task::Reset(Whose::Share(share, _), _)) = self.tasks.front()
            && self.found_shares.get(share) != Some(&life)
        {
            self.tasks.pop_front();
        }
    }

    /// One more place was found; when it was the last, the group goes on there.
    fn go_on_locating(&mut self) {
        if let Some(Task::Locate(whose, aims, found, is_dry)) = self.tasks.front()
            && found.len() == aims.len()
        {
            let reset = Task::Reset(*whose, found.clone());
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
            (Task::Locate(whose, aims, found, _), Ok(AdminReply::Offset(offset))) => {
                let partition = u32::try_from(found.len()).unwrap_or(u32::MAX);
                let place = Place { topic: whose.topic(ledger), partition };
                self.located(asked, (place, aims[found.len()]), offset, ledger);
                return Next::GoesOn;
            }
            (Task::Reset(Whose::Group(group), offsets), Ok(AdminReply::Committed(answers))) => {
                let outcome = reset_answered((*group, asked), offsets, &answers, (ledger, at));
                ledger.of_group(*group, outcome);
                ledger.meet(Met::Reset);
            }
            (Task::Reset(Whose::Share(share, topic), offsets), Ok(reply)) => {
                let outcome = share_reset((*share, *topic), asked, (offsets, &reply), ledger);
                ledger.of_share(*share, outcome);
                ledger.meet(Met::ShareReset);
            }
            (Task::DeleteGroup(_), Ok(AdminReply::Done)) => {
                deleted(asked, &self.plans, (ledger, at));
            }
            (Task::DescribeShare(share), Ok(AdminReply::Group(info))) => {
                self.found_shares.remove(share);
                for described in &info.share {
                    self.found_shares.insert(*share, ledger.life);
                    let topics = self.topics.iter();
                    let mut of_it = topics.filter(|it| it.1.id == described.partition.topic.0);
                    let Some((topic, _)) = of_it.next() else { continue };
                    let partition = described.partition.partition.0;
                    let place = Place { topic: *topic, partition };
                    ledger.saw_share_start(*share, (place, described.start), None);
                }
            }
            (Task::DescribeShare(share), Err(error)) if error.code == ErrorCode::GroupNotFound => {
                self.found_shares.remove(share);
            }
            (Task::Reset(..) | Task::DeleteGroup(_), Err(error)) => {
                let not_done = [ErrorCode::GroupNotEmpty, ErrorCode::GroupNotFound];
                if not_done.contains(&error.code) {
                    refused(asked, ledger);
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

/// A group is gone.
fn deleted(asked: &Asked, plans: &[TopicPlan], (ledger, at): (&mut Ledger, (Instant, usize))) {
    match asked.reset {
        Some(Noted::Group(group, id)) => {
            let book = &mut ledger.groups[group];
            let done = all_none(plans[book.plan.topic].partitions);
            let outcome = book.reset_done(id, &done, at);
            ledger.of_group(group, outcome);
            ledger.meet(Met::GroupDeleted);
        }
        Some(Noted::Share(share, id)) => {
            let when = when(ledger);
            let book = &mut ledger.shares[share];
            let done = nowhere(&book.plan, plans);
            let outcome = book.reset_done(id, &done, when);
            ledger.of_share(share, outcome);
            ledger.meet(Met::ShareDeleted);
        }
        None => {}
    }
}

/// A reset was refused.
fn refused(asked: &Asked, ledger: &mut Ledger) {
    match asked.reset {
        Some(Noted::Group(group, id)) => {
            ledger.groups[group].reset_refused(id);
            ledger.meet(Met::ResetRefused);
        }
        Some(Noted::Share(share, id)) => {
            ledger.shares[share].reset_refused(id);
            ledger.meet(Met::ShareResetRefused);
        }
        None => {}
    }
}

/// What became of each start of a reset in share mode: it is where it was to be.
fn share_reset(
    (share, topic): (usize, usize),
    asked: &Asked,
    (offsets, reply): (&[Offset], &AdminReply),
    ledger: &mut Ledger,
) -> Result<(), String> {
    let AdminReply::Committed(answers) = reply else {
        return Err(format!("a reset is answered {reply:?}"));
    };
    let mut done = WantedStarts::new();
    let mut elsewhere = Ok(());
    for CommittedOffset { partition, error, committed } in answers {
        let partition = partition.partition.0;
        let Some(wanted) = offsets.get(partition as usize).filter(|_| error.is_none()) else {
            continue;
        };
        done.insert(Place { topic, partition }, Some(*wanted));
        if *committed != Some(*wanted) {
            elsewhere =
                Err(format!("{partition}: a reset to {wanted} is answered with {committed:?}"));
        }
    }
    let when = when(ledger);
    match asked.reset {
        Some(Noted::Share(_, id)) => ledger.shares[share].reset_done(id, &done, when)?,
        _ => return Err("a reset that nobody has asked for".to_string()),
    }
    elsewhere
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
    match asked.reset {
        Some(Noted::Group(_, id)) => ledger.groups[group].reset_done(id, &done, at),
        _ => Ok(()),
    }
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
