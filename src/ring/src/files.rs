//! The open files, by the numbers that the logic gave them.
//!
//! A number out of range or not open is an error of the one operation, never a panic. What a
//! newcomer gets wrong: a number that is free again does not mean that the descriptor is closed;
//! operations in flight still hold the file.

use std::fs::File;
use std::rc::Rc;

use plimsoll_device::FileId;

use crate::errno::Errno;

/// The logic numbers files densely; a number beyond this is a mistake, not a large table.
const FILES_MAX: usize = 1 << 22;

/// A file is shared by the table and by the operations in flight on it, so that its descriptor
/// cannot be closed, and its number given to another file, under an operation that still has to be
/// submitted.
#[derive(Default)]
pub(crate) struct Files {
    open: Vec<Option<Rc<File>>>,
}

impl Files {
    /// Refuses a number that is in use (`EBUSY`).
    pub(crate) fn check_free(&self, id: FileId) -> Result<(), Errno> {
        let index = id.0 as usize;
        if index >= FILES_MAX {
            return Err(Errno(libc::EBADF));
        }
        match self.open.get(index) {
            Some(Some(_)) => Err(Errno(libc::EBUSY)),
            _ => Ok(()),
        }
    }

    pub(crate) fn insert(&mut self, id: FileId, file: File) -> Result<(), Errno> {
        self.check_free(id)?;
        let index = id.0 as usize;
        if index >= self.open.len() {
            self.open.resize_with(index + 1, || None);
        }
        self.open[index] = Some(Rc::new(file));
        Ok(())
    }

    pub(crate) fn file(&self, id: FileId) -> Result<Rc<File>, Errno> {
        match self.open.get(id.0 as usize) {
            Some(Some(file)) => Ok(Rc::clone(file)),
            _ => Err(Errno(libc::EBADF)),
        }
    }

    pub(crate) fn remove(&mut self, id: FileId) -> Result<Rc<File>, Errno> {
        self.open.get_mut(id.0 as usize).and_then(Option::take).ok_or(Errno(libc::EBADF))
    }
}
