//! The frames of groups in share mode, as `frames.rs` makes them of the others.

use plimsoll_wire::*;

use crate::frames::Parts;

impl Parts {
    pub(crate) fn share_requests(&self) -> Vec<Request<'_>> {
        let unix_ms = self.numbers[2].cast_signed();
        let begins = [ShareBegin::Beginning, ShareBegin::End, ShareBegin::Timestamp { unix_ms }];
        let joins = begins.into_iter().map(|begin| {
            let share = ShareSettings {
                lock_ms: self.u32(1),
                deliveries_max: self.u32(2),
                begin,
                dead_letter: self.word(),
            };
            Request::JoinGroup(JoinGroup {
                share: Some(share),
                ..self.join_group(Assignor::Sticky)
            })
        });
        let verdicts = [
            Verdict::Accept,
            Verdict::Release { delay_ms: self.numbers[3] },
            Verdict::Reject,
            Verdict::Defer { until_unix_ms: unix_ms },
            Verdict::Renew,
            Verdict::Gone,
            Verdict::DeadLettered,
        ];
        let ranges = verdicts.into_iter().zip(self.partitions().into_iter().cycle());
        let ranges = ranges.map(|(verdict, partition)| {
            let [first, last, ..] = self.numbers.map(Offset::new);
            RangeToSettle { partition, first, last, verdict }
        });
        let (group, member) = (self.word(), self.member());
        joins
            .chain([
                Request::ShareAcquire(ShareAcquire {
                    group,
                    member,
                    max_records: self.u32(1),
                    wait_ms: self.u32(2),
                }),
                Request::ShareSettle(ShareSettle { group, member, ranges: ranges.collect() }),
            ])
            .collect()
    }

    pub(crate) fn share_responses(&self) -> Vec<Response<'_>> {
        let warning = Some(ErrorCode::DeadLetterTopicNotFound);
        let reasons = [None, Some(DeadReason::Rejected), Some(DeadReason::TooManyDeliveries)];
        let [first, last, ..] = self.numbers.map(Offset::new);
        let deliveries = self.u32(3);
        let ranges = self.partitions().into_iter().zip(reasons);
        let ranges = ranges.map(|(partition, dead)| AcquiredRange {
            partition,
            first,
            last,
            deliveries,
            dead,
        });
        let errors = vec![None, Some(ErrorCode::LockLost), Some(ErrorCode::AlreadySettled)];
        let [in_flight, delayed, waiting, dead, dead_lettered, dropped] = self.numbers;
        let described = |partition| ShareDescription {
            partition,
            start: first,
            end: last,
            in_flight,
            delayed,
            waiting,
            dead,
            dead_lettered,
            dropped,
        };
        let description = GroupDescription {
            state: GroupState::Stable,
            mode: GroupMode::Share,
            assignor: Assignor::Sticky,
            generation: Generation(self.numbers[3]),
            members: Vec::new(),
            offsets: Vec::new(),
            share: self.partitions().into_iter().map(described).collect(),
        };
        vec![
            Response::ShareAcquired(ShareAcquired::default()),
            Response::ShareAcquired(ShareAcquired {
                lock_ms: self.u32(1),
                warning,
                unix_ms: self.numbers[2].cast_signed(),
                ranges: ranges.collect(),
            }),
            Response::ShareSettled(ShareSettled { errors }),
            Response::DescribeGroup(description),
        ]
    }
}
