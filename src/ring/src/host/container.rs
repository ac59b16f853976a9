//! Whether this process runs in a container, where memory and files live shorter than they seem to.
//!
//! Goes by marks that engines leave, and can miss one: nothing may depend on the answer but advice.
//! What a newcomer gets wrong: /dev/shm of a container is not the host's, and what `memory` acks
//! rest on goes with it.

use std::fmt;
use std::path::Path;

use super::{Finding, Verdict};

/// What gave the container away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// Nothing did.
    None,
    /// Docker's mark in the root directory.
    Docker,
    /// Podman's mark in /run.
    Podman,
    /// The variable that Kubernetes sets.
    Kubernetes,
}

/// Looks for the marks that container engines leave.
pub fn container() -> Container {
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        Container::Kubernetes
    } else if Path::new("/.dockerenv").exists() {
        Container::Docker
    } else if Path::new("/run/.containerenv").exists() {
        Container::Podman
    } else {
        Container::None
    }
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "not in a container",
            Self::Docker => "in a Docker container",
            Self::Podman => "in a Podman container",
            Self::Kubernetes => "in a Kubernetes pod",
        })
    }
}

impl Finding for Container {
    fn verdict(&self) -> Verdict {
        match self {
            Self::None => Verdict::Fine,
            _ => Verdict::Warning,
        }
    }

    fn remedy(&self) -> Option<String> {
        let remedy = match self {
            Self::None => return None,
            Self::Docker | Self::Podman => {
                "Give --arena-dir a tmpfs that outlives the container (a bind mount of a directory \
                 in the host's /dev/shm): the container's own is gone when it restarts."
            }
            Self::Kubernetes => {
                "Give --arena-dir an emptyDir with `medium: Memory`: it survives the container, \
                 and goes with the pod."
            }
        };
        Some(remedy.to_owned())
    }
}
