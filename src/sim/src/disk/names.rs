//! The names in the data directory: which are sure to be there, what changed since, what is seen.
//!
//! A change of names is whole or not at all, and waits for a flush of each directory that it
//! touches. It cannot survive a power loss that took an earlier change of the same names: a rename
//! without the creation of what it renamed would be nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::survival::Fate;

/// A file's content, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct InodeId(pub(super) u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    File(InodeId),
    Directory,
}

type Tree = BTreeMap<String, Entry>;

#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    base: Tree,
    changes: Vec<Change>,
    visible: Tree,
}

#[derive(Clone, Debug)]
struct Change {
    at: u64,
    /// The directories whose flush it still waits for; durable when there are none.
    awaited: Vec<String>,
    /// What each name means afterwards.
    meanings: Vec<(String, Option<Entry>)>,
}

impl Names {
    pub(super) fn lookup(&self, path: &str) -> Option<Entry> {
        match path {
            "" => Some(Entry::Directory),
            path => self.visible.get(path).copied(),
        }
    }

    pub(super) fn is_directory(&self, path: &str) -> bool {
        self.lookup(path) == Some(Entry::Directory)
    }

    /// Last parts of the names in a directory, sorted.
    pub(super) fn children(&self, directory: &str) -> Vec<String> {
        let children = self.visible.keys().filter(|path| parent_of(path) == directory);
        children.filter_map(|path| path.rsplit('/').next().map(String::from)).collect()
    }

    pub(super) fn files(&self) -> impl Iterator<Item = (&str, InodeId)> {
        files_of(&self.visible)
    }

    /// Changes what names mean, all at once.
    pub(super) fn change(&mut self, at: u64, meanings: Vec<(String, Option<Entry>)>) {
        let mut awaited: Vec<_> = meanings.iter().map(|(path, _)| parent_of(path).into()).collect();
        awaited.dedup();
        apply(&mut self.visible, &meanings);
        self.changes.push(Change { at, awaited, meanings });
    }

    /// Puts a file there for good, with the directories above it.
    pub(super) fn plant(&mut self, path: &str, inode: InodeId) {
        let mut meanings = vec![(path.to_owned(), Some(Entry::File(inode)))];
        let mut parent = parent_of(path);
        while !parent.is_empty() {
            assert!(self.lookup(parent).is_none_or(|entry| entry == Entry::Directory));
            meanings.push((parent.to_owned(), Some(Entry::Directory)));
            parent = parent_of(parent);
        }
        apply(&mut self.visible, &meanings);
        self.changes.push(Change { at: 0, awaited: Vec::new(), meanings });
        self.settle();
    }

    /// Takes a file away for good. Whether it was there.
    pub(super) fn uproot(&mut self, path: &str) -> bool {
        let is_there = matches!(self.lookup(path), Some(Entry::File(_)));
        let meanings = vec![(path.to_owned(), None)];
        apply(&mut self.visible, &meanings);
        self.changes.push(Change { at: 0, awaited: Vec::new(), meanings });
        self.settle();
        is_there
    }

    /// A flush of `directory` (of all, without one), submitted when `submitted_at` was the last
    /// completion.
    pub(super) fn sync(&mut self, directory: Option<&str>, submitted_at: u64) {
        for change in self.changes.iter_mut().filter(|change| change.at <= submitted_at) {
            change.awaited.retain(|awaited| directory.is_some_and(|flushed| awaited != flushed));
        }
        self.settle();
    }

    /// The file of that name after a power loss that takes all it may.
    pub(super) fn durable_file(&self, path: &str) -> Option<InodeId> {
        match self.tree_after(|_| Fate::Lost).get(path) {
            Some(Entry::File(inode)) => Some(*inode),
            _ => None,
        }
    }

    /// The stamps of the changes that no flush has covered.
    pub(super) fn unflushed(&self) -> impl Iterator<Item = u64> {
        let unflushed = self.changes.iter().filter(|change| !change.awaited.is_empty());
        unflushed.map(|change| change.at)
    }

    /// Power came back: `fate` said of every stamp without a flush what became of it.
    pub(super) fn lose_power(&mut self, fate: impl FnMut(u64) -> Fate) {
        self.base = self.tree_after(fate);
        self.changes.clear();
        self.visible = self.base.clone();
    }

    /// The files that some name means, or may mean after a power loss.
    pub(super) fn mentioned(&self) -> BTreeSet<InodeId> {
        let changed = self.changes.iter().flat_map(|change| &change.meanings);
        let changed = changed.filter_map(|(_, meaning)| match meaning {
            Some(Entry::File(inode)) => Some(*inode),
            Some(Entry::Directory) | None => None,
        });
        // What is visible came from the base or from a change.
        files_of(&self.base).map(|(_, inode)| inode).chain(changed).collect()
    }

    fn settle(&mut self) {
        let front = self.changes.iter().take_while(|change| change.awaited.is_empty()).count();
        for change in self.changes.drain(..front) {
            apply(&mut self.base, &change.meanings);
        }
    }

    fn tree_after(&self, mut fate: impl FnMut(u64) -> Fate) -> Tree {
        let mut tree = self.base.clone();
        let mut lost: Vec<&str> = Vec::new();
        for change in &self.changes {
            let paths = || change.meanings.iter().map(|(path, _)| path.as_str());
            // A journal is whole or not at all: what would be torn is kept.
            let kept = !matches!(fate(change.at), Fate::Lost)
                && !paths().any(|path| lost.iter().any(|lost| is_related(lost, path)));
            if kept || change.awaited.is_empty() {
                apply(&mut tree, &change.meanings);
            } else {
                lost.extend(paths());
            }
        }
        drop_orphans(&mut tree);
        tree
    }
}

/// The directory that holds `path`.
pub(super) fn parent_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// One of the two names the other, or a directory above it.
fn is_related(one: &str, other: &str) -> bool {
    let is_above = |above: &str, below: &str| {
        below.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    is_above(one, other) || is_above(other, one)
}

fn apply(tree: &mut Tree, meanings: &[(String, Option<Entry>)]) {
    for (path, meaning) in meanings {
        match meaning {
            Some(entry) => tree.insert(path.clone(), *entry),
            None => tree.remove(path),
        };
    }
}

/// A name in a directory that is not there is not there.
fn drop_orphans(tree: &mut Tree) {
    let mut kept = Tree::new();
    // A directory sorts before everything in it.
    for (path, entry) in core::mem::take(tree) {
        let parent = parent_of(&path);
        if parent.is_empty() || kept.get(parent) == Some(&Entry::Directory) {
            kept.insert(path, entry);
        }
    }
    *tree = kept;
}

fn files_of(tree: &Tree) -> impl Iterator<Item = (&str, InodeId)> {
    tree.iter().filter_map(|(path, entry)| match entry {
        Entry::File(inode) => Some((path.as_str(), *inode)),
        Entry::Directory => None,
    })
}
