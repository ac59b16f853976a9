//! Leaving parts out of a scenario, so that what is left is a scenario again.
//!
//! Acts name topics' partitions, clients and groups by number. Who leaves one out takes along the
//! acts that name it, and the others are numbered anew. What a newcomer gets wrong: members are
//! numbered behind the consumers, and these behind the producers, so that nearly every removal
//! moves somebody.

use super::{Act, Scenario, SharePlan, What};

/// A part that may be left out of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A life.
    Life(usize),
    /// An act of a life.
    Act(usize, usize),
    /// A topic, and who produces to it or consumes it.
    Topic(usize),
    /// The last partition of a topic.
    Partition(usize),
    /// A producer.
    Producer(usize),
    /// A consumer.
    Consumer(usize),
    /// A group, and its members.
    Group(usize),
    /// A member of a group.
    Member(usize, usize),
    /// A group in share mode, and its members.
    Share(usize),
    /// A member of one.
    Sharer(usize, usize),
}

impl Scenario {
    /// Every part that may be left out, the large ones first.
    #[must_use]
    pub fn removable(&self) -> Vec<Part> {
        let mut parts: Vec<Part> = (0..self.lives.len()).map(Part::Life).collect();
        if self.topics.len() > 1 {
            parts.extend((0..self.topics.len()).map(Part::Topic));
        }
        parts.extend((0..self.groups.len()).map(Part::Group));
        // A group without members would never come to the end.
        let seats = self.seats().filter(|(group, _)| self.groups[*group].members.len() > 1);
        parts.extend(seats.map(|(group, seat)| Part::Member(group, seat)));
        parts.extend((0..self.shares.len()).map(Part::Share));
        let sharers = self.sharers().filter(|(share, _)| self.shares[*share].sharers.len() > 1);
        parts.extend(sharers.map(|(share, seat)| Part::Sharer(share, seat)));
        parts.extend((0..self.consumers.len()).map(Part::Consumer));
        parts.extend((0..self.producers.len()).map(Part::Producer));
        let topics = self.topics.iter().enumerate();
        let several = topics.filter(|(_, topic)| topic.partitions > 1);
        parts.extend(several.map(|(number, _)| Part::Partition(number)));
        for (number, life) in self.lives.iter().enumerate() {
            parts.extend((0..life.acts.len()).map(|act| Part::Act(number, act)));
        }
        parts
    }

    /// The scenario without a part of it, and without what cannot be without that.
    #[must_use]
    pub fn without(&self, part: Part) -> Self {
        let mut left = self.clone();
        match part {
            Part::Life(life) => drop(left.lives.remove(life)),
            Part::Act(life, act) => drop(left.lives[life].acts.remove(act)),
            Part::Topic(topic) => left.drop_topic(topic),
            Part::Partition(topic) => left.drop_partition(topic),
            Part::Producer(producer) => {
                left.producers.remove(producer);
                left.renumber_clients(producer);
            }
            Part::Consumer(consumer) => {
                left.consumers.remove(consumer);
                left.renumber_clients(self.producers.len() + consumer);
            }
            Part::Group(group) => left.drop_group(group),
            Part::Member(group, seat) => {
                let client = left.client_of_seat(group, seat);
                left.groups[group].members.remove(seat);
                left.renumber_clients(client);
            }
            Part::Share(share) => left.drop_share(share),
            Part::Sharer(share, seat) => left.drop_sharer(share, seat),
        }
        left
    }

    /// Whether every number in it is that of something.
    #[must_use]
    pub fn names_what_is_there(&self) -> bool {
        let (topics, clients) = (self.topics.len(), self.clients());
        let mut of_topics = self.producers.iter().map(|it| it.topic);
        let mut consumed = self.consumers.iter().map(|it| it.topic);
        let mut of_groups = self.groups.iter().map(|it| it.topic);
        let mut of_shares =
            self.shares.iter().flat_map(|it| it.topics.iter().chain(&it.dead_letters));
        let acts = self.lives.iter().flat_map(|life| &life.acts);
        let mut acts = acts.map(|act| act.what);
        of_topics.all(|it| it < topics)
            && consumed.all(|it| it < topics)
            && of_groups.all(|it| it < topics)
            && of_shares.all(|it| *it < topics)
            && acts.all(|mut what| {
                let is_place = match what {
                    What::Append { producer, partition, .. } => {
                        let producer = self.producers.get(producer);
                        producer.is_some_and(|it| partition < self.topics[it.topic].partitions)
                    }
                    What::DeleteRecords { topic, partition, .. } => {
                        self.topics.get(topic).is_some_and(|it| partition < it.partitions)
                    }
                    What::FillDisk { producer } => producer < self.producers.len(),
                    _ => true,
                };
                let is_topic = what.topic().is_none_or(|topic| *topic < topics);
                let is_group = what.group().is_none_or(|group| *group < self.groups.len());
                let is_share = what.share().is_none_or(|share| *share < self.shares.len());
                is_place
                    && is_share
                    && is_topic
                    && is_group
                    && what.client().is_none_or(|client| *client < clients)
            })
    }

    /// How many clients there are.
    fn clients(&self) -> usize {
        self.producers.len() + self.consumers.len() + self.seats().count() + self.sharers().count()
    }

    /// A member's number among the clients.
    fn client_of_seat(&self, group: usize, seat: usize) -> usize {
        let before: usize = self.groups[..group].iter().map(|group| group.members.len()).sum();
        self.producers.len() + self.consumers.len() + before + seat
    }

    fn drop_topic(&mut self, topic: usize) {
        let of = |it: usize| it == topic;
        while let Some(group) = self.groups.iter().position(|it| of(it.topic)) {
            self.drop_group(group);
        }
        let is_of_it =
            |it: &SharePlan| it.topics.contains(&topic) || it.dead_letters == Some(topic);
        while let Some(share) = self.shares.iter().position(is_of_it) {
            self.drop_share(share);
        }
        while let Some(consumer) = self.consumers.iter().position(|it| of(it.topic)) {
            self.consumers.remove(consumer);
            self.renumber_clients(self.producers.len() + consumer);
        }
        while let Some(producer) = self.producers.iter().position(|it| of(it.topic)) {
            self.producers.remove(producer);
            self.renumber_clients(producer);
        }
        self.topics.remove(topic);
        self.keep_acts(|what| what.topic().is_none_or(|named| renumber(named, topic)));
        let topics = self.producers.iter_mut().map(|it| &mut it.topic);
        let topics = topics.chain(self.consumers.iter_mut().map(|it| &mut it.topic));
        for share in &mut self.shares {
            for named in share.topics.iter_mut().chain(&mut share.dead_letters) {
                *named -= usize::from(*named > topic);
            }
        }
        for named in topics.chain(self.groups.iter_mut().map(|it| &mut it.topic)) {
            *named -= usize::from(*named > topic);
        }
    }

    fn drop_partition(&mut self, topic: usize) {
        self.topics[topic].partitions -= 1;
        let partitions = self.topics[topic].partitions;
        let producers = self.producers.clone();
        self.keep_acts(|what| match what {
            What::Append { producer, partition, .. } => {
                producers[*producer].topic != topic || *partition < partitions
            }
            What::DeleteRecords { topic: named, partition, .. } => {
                *named != topic || *partition < partitions
            }
            _ => true,
        });
    }

    fn drop_group(&mut self, group: usize) {
        while !self.groups[group].members.is_empty() {
            let client = self.client_of_seat(group, 0);
            self.groups[group].members.remove(0);
            self.renumber_clients(client);
        }
        self.groups.remove(group);
        self.keep_acts(|what| what.group().is_none_or(|named| renumber(named, group)));
    }

    fn drop_share(&mut self, share: usize) {
        while !self.shares[share].sharers.is_empty() {
            self.drop_sharer(share, 0);
        }
        self.shares.remove(share);
        self.keep_acts(|what| what.share().is_none_or(|named| renumber(named, share)));
    }

    fn drop_sharer(&mut self, share: usize, seat: usize) {
        let before: usize = self.shares[..share].iter().map(|it| it.sharers.len()).sum();
        let others = self.clients() - self.sharers().count();
        self.shares[share].sharers.remove(seat);
        self.renumber_clients(others + before + seat);
    }

    /// A client is gone: so is what was done to it or by it.
    fn renumber_clients(&mut self, gone: usize) {
        self.keep_acts(|what| what.client().is_none_or(|named| renumber(named, gone)));
    }

    fn keep_acts(&mut self, mut keeps: impl FnMut(&mut What) -> bool) {
        for life in &mut self.lives {
            life.acts.retain_mut(|Act { what, .. }| keeps(what));
        }
    }
}

/// The number of something of which one is gone; false if it is that one.
fn renumber(named: &mut usize, gone: usize) -> bool {
    let stays = *named != gone;
    *named -= usize::from(*named > gone);
    stays
}

impl What {
    /// The client that it names, or does something for.
    fn client(&mut self) -> Option<&mut usize> {
        match self {
            // Producers are numbered first among the clients.
            Self::Append { producer, .. } | Self::FillDisk { producer } => Some(producer),
            Self::Cut { client }
            | Self::Silence { client, .. }
            | Self::Leave { client }
            | Self::Slow { client, .. }
            | Self::Restart { client } => Some(client),
            Self::Nothing
            | Self::Stray { .. }
            | Self::DiskPause { .. }
            | Self::HoldFronts { .. }
            | Self::HoldJournals { .. }
            | Self::DiskFull { .. }
            | Self::Fault { .. }
            | Self::AlterTopic { .. }
            | Self::AlterCleanup { .. }
            | Self::DeleteRecords { .. }
            | Self::DescribeTopic { .. }
            | Self::SetClock { .. }
            | Self::Dismiss { .. }
            | Self::ResetGroup { .. }
            | Self::DeleteGroup { .. }
            | Self::DescribeGroup { .. }
            | Self::DismissShare { .. }
            | Self::ResetShare { .. }
            | Self::DeleteShare { .. }
            | Self::DescribeShare { .. }
            | Self::DropDeadLetters { .. }
            | Self::Passing { .. } => None,
        }
    }

    /// The group that it names.
    fn group(&mut self) -> Option<&mut usize> {
        match self {
            Self::DescribeGroup { group }
            | Self::Dismiss { group, .. }
            | Self::ResetGroup { group, .. }
            | Self::DeleteGroup { group } => Some(group),
            _ => None,
        }
    }

    /// The group in share mode that it names.
    fn share(&mut self) -> Option<&mut usize> {
        match self {
            Self::DismissShare { share, .. }
            | Self::ResetShare { share, .. }
            | Self::DeleteShare { share }
            | Self::DescribeShare { share }
            | Self::DropDeadLetters { share, .. } => Some(share),
            _ => None,
        }
    }

    /// The topic that it names.
    fn topic(&mut self) -> Option<&mut usize> {
        match self {
            Self::AlterTopic { topic, .. }
            | Self::AlterCleanup { topic, .. }
            | Self::DeleteRecords { topic, .. }
            | Self::DescribeTopic { topic } => Some(topic),
            _ => None,
        }
    }
}
