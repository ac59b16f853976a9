//! Questions to the server beside the load: its topic, its counters, what its process uses.

use std::time::Duration;

use plimsoll_client_blocking::{Client, ErrorCode, NewTopic, Topic};

use crate::LoadError;
use crate::host_process::HostProcess;

/// The server, as far as it can be asked.
#[derive(Debug)]
pub(crate) struct Server {
    client: Client,
    process: Option<HostProcess>,
}

/// Where the server stood at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    counters: Vec<(String, u64)>,
    cpu_seconds: Option<f64>,
}

/// What the server did between two readings. `None`: it could not be learned.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ServerUse {
    /// Group commits.
    pub commits: Option<u64>,
    /// The mean size of one.
    pub commit_bytes_mean: Option<f64>,
    /// Processor time, of a server on this host.
    pub cpu_seconds: Option<f64>,
    /// The most memory that its process ever held, of a server on this host.
    pub memory_bytes_max: Option<u64>,
}

impl Server {
    pub(crate) fn connect(address: &str) -> Result<Server, LoadError> {
        let client = Client::builder(address)
            .client_name("plimsoll-load")
            .request_timeout(Duration::from_secs(60))
            .connect()?;
        Ok(Server { client, process: HostProcess::of_server(address) })
    }

    /// The topic; created if it is not there and `wanted` says how.
    pub(crate) fn topic(
        &self,
        name: &str,
        wanted: Option<&NewTopic<'_>>,
    ) -> Result<Topic, LoadError> {
        if let Some(wanted) = wanted {
            match self.client.create_topic(wanted) {
                Ok(_) => {}
                Err(error)
                    if error
                        .server_error()
                        .is_some_and(|error| error.code == ErrorCode::TopicExists) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.client.topic(name)?)
    }

    pub(crate) fn reading(&self) -> Reading {
        Reading {
            counters: self.client.stats().unwrap_or_default(),
            cpu_seconds: self.process.and_then(HostProcess::cpu_seconds),
        }
    }

    /// What it used since `before`.
    pub(crate) fn used_since(&self, before: &Reading) -> ServerUse {
        let mut used = used_between(before, &self.reading());
        used.memory_bytes_max = self.process.and_then(HostProcess::memory_bytes_max);
        used
    }
}

fn used_between(before: &Reading, after: &Reading) -> ServerUse {
    let value = |reading: &Reading, name: &str| {
        reading.counters.iter().find(|(found, _)| found == name).map(|(_, value)| *value)
    };
    let grown = |name: &str| value(after, name)?.checked_sub(value(before, name)?);
    let commits = grown("commits");
    let bytes = grown("commit_bytes");
    let commit_bytes_mean = match (commits, bytes) {
        (Some(commits), Some(bytes)) if commits > 0 => Some(bytes as f64 / commits as f64),
        _ => None,
    };
    let cpu_seconds =
        after.cpu_seconds.zip(before.cpu_seconds).map(|(after, before)| after - before);
    ServerUse { commits, commit_bytes_mean, cpu_seconds, memory_bytes_max: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(commits: u64, bytes: u64) -> Reading {
        let counters = vec![("commits".to_owned(), commits), ("commit_bytes".to_owned(), bytes)];
        Reading { counters, cpu_seconds: None }
    }

    #[test]
    fn commits_are_those_between_the_readings() {
        let used = used_between(&reading(10, 1000), &reading(14, 9000));
        assert_eq!((used.commits, used.commit_bytes_mean), (Some(4), Some(2000.0)));
    }

    #[test]
    fn counters_that_began_anew_say_nothing() {
        let used = used_between(&reading(10, 1000), &reading(4, 100));
        assert_eq!((used.commits, used.commit_bytes_mean), (None, None));
    }
}
