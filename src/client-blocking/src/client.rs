//! The client: where everything begins.
//!
//! It owns no connection of a producer or consumer: those live as long as they do. What a newcomer
//! gets wrong: a question that changes something is never asked twice by itself, others are.

use crate::admin_connection::AdminConnection;
use crate::clock::Clock;
use crate::consumer::Consumer;
use crate::dial::resolve;
use crate::engine::Engine;
use crate::group_consumer::GroupConsumer;
use crate::producer::Producer;
use crate::share_consumer::ShareConsumer;
use crate::{AdminError, ConnectError, ConsumeError, GroupError};
use plimsoll_client::{
    AdminReply, AdminRequest, Consumer as ConsumerSession, ConsumerOptions,
    GroupConsumer as GroupSession, GroupOptions, NewTopic, Offset, OffsetsWhat,
    PartitionDescription, Producer as ProducerSession, ProducerIdentity, ProducerOptions,
    RequestError, ShareConsumer as ShareSession, ShareError, ShareOptions, Topic, TopicChanges,
    Visible,
};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A server, known by its address. Cheap to clone; all clones ask over one connection.
///
/// Producers and consumers have connections of their own, one for each shard that they need.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

/// The choices of a client.
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    address: String,
    client_name: String,
    connect_timeout: Duration,
    request_timeout: Duration,
}

#[derive(Debug)]
struct Inner {
    options: ClientBuilder,
    clock: Clock,
    admin: Mutex<Option<AdminConnection>>,
}

impl Client {
    /// Connects to the server at `address`, `HOST:PORT`.
    ///
    /// # Errors
    ///
    /// There is no such address, or no Plimsoll server at it.
    pub fn connect(address: impl Into<String>) -> Result<Client, ConnectError> {
        Client::builder(address).connect()
    }

    /// The same with choices.
    #[must_use]
    pub fn builder(address: impl Into<String>) -> ClientBuilder {
        ClientBuilder {
            address: address.into(),
            client_name: String::from("plimsoll-client-blocking"),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
        }
    }

    /// The address as it was given.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.inner.options.address
    }

    /// A producer for `topic`. Its connections are made with the first record.
    ///
    /// # Errors
    ///
    /// The topic does not exist, or the server cannot be asked.
    pub fn producer(
        &self,
        topic: &str,
        mut options: ProducerOptions,
    ) -> Result<Producer, AdminError> {
        let topic = self.topic(topic)?;
        self.name_links(&mut options.link);
        // Any number will do; this one differs between producers that start together.
        let first_partition = std::process::id();
        let session = ProducerSession::new(topic, options, first_partition);
        Ok(Producer::new(self.engine(session)))
    }

    /// An identity for [`ProducerOptions::resume`], which nobody else has. It costs nothing until
    /// it is used; a partition forgets one that has rested for a week.
    ///
    /// # Errors
    ///
    /// The server cannot be asked.
    pub fn new_identity(&self) -> Result<ProducerIdentity, AdminError> {
        match self.ask(&AdminRequest::NewIdentity)? {
            AdminReply::Identity(identity) => Ok(identity),
            _ => Err(self.error(RequestError::UnexpectedReply)),
        }
    }

    /// A consumer of `topic`, which connects and subscribes in the background.
    ///
    /// # Errors
    ///
    /// The topic or a partition of it does not exist, or the server cannot be asked.
    pub fn consumer(
        &self,
        topic: &str,
        mut options: ConsumerOptions,
    ) -> Result<Consumer, ConsumeError> {
        let topic = self.topic(topic)?;
        self.name_links(&mut options.link);
        let session = ConsumerSession::new(topic, options, self.inner.clock.now())?;
        Ok(Consumer::new(self.engine(session)))
    }

    /// A member of `group` that consumes `topic`. It joins and subscribes in the background.
    ///
    /// # Errors
    ///
    /// The topic does not exist, or the server cannot be asked.
    pub fn group_consumer(
        &self,
        topic: &str,
        group: &str,
        options: GroupOptions,
    ) -> Result<GroupConsumer, GroupError> {
        self.group_consumer_of(&[topic], group, options)
    }

    /// The same of several topics, at least one. What the other members want is their own affair:
    /// each partition goes to one of those that want its topic.
    ///
    /// # Errors
    ///
    /// A topic does not exist, or the server cannot be asked.
    pub fn group_consumer_of(
        &self,
        topics: &[&str],
        group: &str,
        mut options: GroupOptions,
    ) -> Result<GroupConsumer, GroupError> {
        let mut found = Vec::with_capacity(topics.len());
        for topic in topics {
            found.push(self.topic(topic)?);
        }
        self.name_links(&mut options.link);
        let session = GroupSession::of_topics(found, group, options, self.inner.clock.now());
        Ok(GroupConsumer::new(self.engine(session)))
    }

    /// A member of `group` in share mode, which takes records of these topics, at least one. It
    /// joins in the background.
    ///
    /// # Errors
    ///
    /// A topic or the dead-letter topic does not exist, or the server cannot be asked. What the
    /// server has against the membership comes with the first call for records.
    pub fn share_consumer(
        &self,
        topics: &[&str],
        group: &str,
        mut options: ShareOptions,
    ) -> Result<ShareConsumer, ShareError> {
        let mut names = Vec::with_capacity(topics.len());
        for topic in topics {
            names.push(self.topic(topic)?.name);
        }
        let dead_letter = match &options.dead_letter {
            None => None,
            Some(topic) => match self.topic(topic) {
                Ok(topic) => Some(topic),
                Err(AdminError { error: RequestError::TopicNotFound { topic }, .. }) => {
                    return Err(ShareError::DeadLetterTopicNotFound { topic });
                }
                Err(error) => return Err(ShareError::Lookup(error)),
            },
        };
        self.name_links(&mut options.link);
        let now = self.inner.clock.now();
        let session = ShareSession::new(names, group, dead_letter, options, now);
        Ok(ShareConsumer::new(self.engine(session)))
    }

    /// Is the server there?
    ///
    /// # Errors
    ///
    /// It is not.
    pub fn ping(&self) -> Result<(), AdminError> {
        self.ask(&AdminRequest::Ping).map(drop)
    }

    /// All topics.
    ///
    /// # Errors
    ///
    /// The server cannot be asked.
    pub fn topics(&self) -> Result<Vec<Topic>, AdminError> {
        self.metadata(Vec::new())
    }

    /// One topic.
    ///
    /// # Errors
    ///
    /// It does not exist, or the server cannot be asked.
    pub fn topic(&self, topic: &str) -> Result<Topic, AdminError> {
        let found = self.metadata(vec![topic])?.into_iter().find(|found| found.name == topic);
        found.ok_or_else(|| self.error(RequestError::TopicNotFound { topic: topic.to_owned() }))
    }

    /// Creates a topic, durably, and returns its number.
    ///
    /// # Errors
    ///
    /// The server refuses (it exists, or a setting is not allowed) or cannot be asked.
    pub fn create_topic(&self, topic: &NewTopic<'_>) -> Result<u32, AdminError> {
        match self.ask(&AdminRequest::CreateTopic(*topic))? {
            AdminReply::Created { topic_id } => Ok(topic_id),
            _ => Err(self.error(RequestError::UnexpectedReply)),
        }
    }

    /// Gives a topic other settings, durably; every shard goes by them when this returns.
    ///
    /// # Errors
    ///
    /// The server refuses (it does not exist, or a setting is not allowed) or cannot be asked.
    pub fn alter_topic(&self, changes: &TopicChanges<'_>) -> Result<(), AdminError> {
        self.ask(&AdminRequest::AlterTopic(*changes)).map(drop)
    }

    /// Deletes a topic and its records, durably.
    ///
    /// # Errors
    ///
    /// The server refuses (it does not exist) or cannot be asked.
    pub fn delete_topic(&self, topic: &str) -> Result<(), AdminError> {
        self.ask(&AdminRequest::DeleteTopic { topic }).map(drop)
    }

    /// Deletes the records of a partition below `to`, durably. Gives the partition's start: the
    /// first offset that can be read now. It never goes back.
    ///
    /// # Errors
    ///
    /// The server refuses (`to` is beyond the end) or cannot be asked.
    pub fn delete_records(
        &self,
        topic: &str,
        partition: u32,
        to: Offset,
    ) -> Result<Offset, AdminError> {
        match self.ask(&AdminRequest::DeleteRecords { topic, partition, to })? {
            AdminReply::Offset(start) => Ok(start),
            _ => Err(self.error(RequestError::UnexpectedReply)),
        }
    }

    /// State, watermarks and size of all partitions of a topic.
    ///
    /// # Errors
    ///
    /// The topic does not exist, or the server cannot be asked.
    pub fn describe(&self, topic: &str) -> Result<Vec<PartitionDescription>, AdminError> {
        let count = 100_000;
        match self.ask(&AdminRequest::Describe { topic, first: 0, count })? {
            AdminReply::Partitions(partitions) => Ok(partitions),
            _ => Err(self.error(RequestError::UnexpectedReply)),
        }
    }

    /// A place in a partition: its beginning, its end as seen at `visible`, or the first record of
    /// a time or later. Of a batch that this client cannot read, that is its first.
    ///
    /// # Errors
    ///
    /// Topic or partition do not exist, or the server cannot be asked.
    pub fn offset(
        &self,
        topic: &str,
        partition: u32,
        what: OffsetsWhat,
        visible: Visible,
    ) -> Result<Offset, AdminError> {
        match self.ask(&AdminRequest::Offsets { topic, partition, what, visible })? {
            AdminReply::Offset(offset) => Ok(offset),
            _ => Err(self.error(RequestError::UnexpectedReply)),
        }
    }

    /// The server's counters since its start, by name.
    ///
    /// # Errors
    ///
    /// The server cannot be asked.
    pub fn stats(&self) -> Result<Vec<(String, u64)>, AdminError> {
        match self.ask(&AdminRequest::Stats)? {
            AdminReply::Stats(stats) => Ok(stats),
            _ => Err(self.error(RequestError::UnexpectedReply)),
        }
    }

    fn metadata(&self, topics: Vec<&str>) -> Result<Vec<Topic>, AdminError> {
        match self.ask(&AdminRequest::Metadata { topics })? {
            AdminReply::Topics(topics) => Ok(topics),
            _ => Err(self.error(RequestError::UnexpectedReply)),
        }
    }

    pub(crate) fn ask(&self, request: &AdminRequest<'_>) -> Result<AdminReply, AdminError> {
        let changes = request.is_asked_once();
        let mut admin = self.inner.admin.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_kept = admin.is_some() && !changes;
        if changes && let Some(kept) = admin.as_mut() {
            // A connection that died since the last question must not make this one ambiguous.
            if kept.ask(&AdminRequest::Ping).is_err() {
                *admin = None;
            }
        }
        loop {
            let mut connection = match admin.take() {
                Some(connection) => connection,
                None => self.inner.options.open().map_err(|error| self.error(error))?,
            };
            match connection.ask(request) {
                Err(RequestError::Connection(_)) if is_kept => is_kept = false,
                Err(error @ RequestError::Connection(_)) => return Err(self.error(error)),
                reply => {
                    *admin = Some(connection);
                    return reply.map_err(|error| self.error(error));
                }
            }
        }
    }

    pub(crate) fn error(&self, error: RequestError) -> AdminError {
        AdminError { address: self.inner.options.address.clone(), error }
    }

    fn name_links(&self, link: &mut plimsoll_client::LinkOptions) {
        link.client_name = Arc::from(&*self.inner.options.client_name);
        link.request_timeout = self.inner.options.request_timeout;
    }

    fn engine<S: crate::engine::Driven>(&self, session: S) -> Arc<Engine<S>> {
        let ClientBuilder { address, connect_timeout, .. } = &self.inner.options;
        Engine::new(session, self.inner.clock, address.clone(), *connect_timeout)
    }
}

impl ClientBuilder {
    /// What the server shows for this client.
    #[must_use]
    pub fn client_name(mut self, client_name: impl Into<String>) -> ClientBuilder {
        self.client_name = client_name.into();
        self
    }

    /// How long to wait for a connection; 5 s unless told otherwise.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> ClientBuilder {
        self.connect_timeout = timeout;
        self
    }

    /// How long to wait for the answer to a request; 30 s unless told otherwise.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> ClientBuilder {
        self.request_timeout = timeout;
        self
    }

    /// Connects and asks whether a Plimsoll server is there.
    ///
    /// # Errors
    ///
    /// There is no such address, or no Plimsoll server at it.
    pub fn connect(self) -> Result<Client, ConnectError> {
        let address = self.address.clone();
        if let Err(error) = resolve(&address) {
            return Err(ConnectError::Resolve { address, text: error.to_string() });
        }
        let admin = Mutex::new(None);
        let client =
            Client { inner: Arc::new(Inner { options: self, clock: Clock::new(), admin }) };
        match client.ping() {
            Ok(()) => Ok(client),
            Err(error) => Err(error.into_connect_error()),
        }
    }

    fn open(&self) -> Result<AdminConnection, RequestError> {
        let ClientBuilder { address, client_name, connect_timeout, request_timeout } = self;
        AdminConnection::open(address, client_name, *connect_timeout, *request_timeout)
            .map_err(RequestError::Connection)
    }
}
