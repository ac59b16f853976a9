//! Bind: a handle for a partition.
//!
//! Any shard serves it; the owner of the partition describes it. What a newcomer gets wrong: the
//! handle is good at once, before the answer has left, because clients send produce frames right
//! behind the bind.

use plimsoll_storage::Slot;
use plimsoll_wire::{Bind, BindResponse, CorrelationId, ErrorCode, Opcode, ShardIndex};

use super::Shard;
use super::answers::Problem;
use super::decoding::Flow;
use crate::connection::ConnectionId;
use crate::handles::Binding;
use crate::level;
use crate::mail::{Client, Ended, Forwarded};

impl Shard {
    pub(super) fn bind(
        &mut self,
        id: ConnectionId,
        correlation: CorrelationId,
        bind: &Bind<'_>,
    ) -> Flow {
        let binding = match self.binding_of(id, bind) {
            Ok(binding) => binding,
            Err(problem) => {
                let client = self.client(id);
                self.answer_problem(client, Ended::NOTHING, Opcode::Bind, correlation, problem);
                return Flow::Next;
            }
        };
        let to = (binding.owner, binding.partition);
        let request = Forwarded::Bind { handle: bind.handle };
        let flow = self.ask_owner(id, correlation, to, request);
        // Frames behind this one may use the handle before the answer is there.
        if flow == Flow::Next
            && let Some(connection) = self.connections.at_mut(id.0)
        {
            connection.handles.bind(bind.handle, binding);
        }
        flow
    }

    fn binding_of(&self, id: ConnectionId, bind: &Bind<'_>) -> Result<Binding, Problem> {
        let handle = bind.handle;
        let handles_max = self.config.limits.handles_per_connection_max;
        if handle.0 >= handles_max {
            return Err(Problem {
                handle: Some(handle),
                detail_a: u64::from(handles_max),
                ..Problem::new(ErrorCode::TooManyHandles, "the handle is beyond handles_max")
            });
        }
        let is_bound = self
            .connections
            .at(id.0)
            .is_some_and(|connection| connection.handles.at(handle).is_some());
        if is_bound {
            return Err(Problem::of_handle(ErrorCode::HandleInUse, handle));
        }
        let Some(topic) = self.catalog.named(bind.topic) else {
            return Err(Problem { handle: Some(handle), ..self.no_topic() });
        };
        let Some(partition) = topic.partition(bind.partition.0) else {
            return Err(Problem {
                handle: Some(handle),
                detail_a: u64::from(bind.partition.0),
                detail_b: u64::from(topic.partitions),
                ..Problem::new(ErrorCode::PartitionNotFound, "the topic has fewer partitions")
            });
        };
        let owner = ShardIndex(partition.owner(self.config.shards));
        let is_here = owner == self.config.index;
        Ok(Binding {
            partition,
            owner,
            slot: if is_here { self.storage.slot(partition) } else { None },
            default_durability: topic.settings.default_durability,
            expected: None,
        })
    }

    pub(super) fn serve_bind(&mut self, client: Client, correlation: CorrelationId, slot: Slot) {
        let description = self.storage.describe(slot);
        let shard = self.config.index;
        let Some(partition) = self.partition(slot) else { return };
        let batch_bytes_max = partition.limits.batch_bytes_max;
        let response = BindResponse {
            shard,
            default_durability: partition.default_durability,
            state: level::state(&description.state),
            max_batch_bytes: u32::try_from(batch_bytes_max).unwrap_or(u32::MAX),
            watermarks: level::watermarks(description.watermarks),
        };
        self.answer(client, Ended::REQUEST, |out| response.encode(correlation, out));
    }
}
