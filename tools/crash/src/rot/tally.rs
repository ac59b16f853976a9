//! Wounds by structure, what verify said and what was served, and the table of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::judge::{Served, Verified};
use super::structures::{STRUCTURES, Structure};

#[derive(Debug, Default)]
pub(crate) struct Tally {
    rows: BTreeMap<Structure, Row>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Row {
    wounds: u64,
    verified: [u64; 3],
    served: [u64; 5],
}

impl Tally {
    pub(crate) fn add(&mut self, structure: Structure, verified: Verified, served: Served) {
        let row = self.rows.entry(structure).or_default();
        row.wounds += 1;
        row.verified[match verified {
            Verified::Named => 0,
            Verified::Noted => 1,
            Verified::Silent => 2,
        }] += 1;
        row.served[match served {
            Served::Refused => 0,
            Served::Told => 1,
            Served::Cut => 2,
            Served::Whole => 3,
            Served::Moved => 4,
        }] += 1;
    }

    /// Adds another one.
    pub(crate) fn take(&mut self, other: Tally) {
        for (structure, added) in other.rows {
            let row = self.rows.entry(structure).or_default();
            row.wounds += added.wounds;
            row.verified.iter_mut().zip(added.verified).for_each(|(sum, it)| *sum += it);
            row.served.iter_mut().zip(added.served).for_each(|(sum, it)| *sum += it);
        }
    }

    pub(crate) fn table(&self) -> String {
        let mut table = format!(
            "{:<24}{:>8} |{:>8}{:>8}{:>8} |{:>8}{:>8}{:>8}{:>8}{:>8}\n",
            "damage in",
            "wounds",
            "named",
            "noted",
            "silent",
            "refused",
            "told",
            "cut",
            "whole",
            "moved"
        );
        for (structure, name) in STRUCTURES {
            let Some(row) = self.rows.get(&structure) else { continue };
            let [named, noted, silent] = row.verified;
            let [refused, told, cut, whole, moved] = row.served;
            // Writing into a String does not fail.
            let _ = writeln!(
                table,
                "{name:<24}{:>8} |{named:>8}{noted:>8}{silent:>8} |{refused:>8}{told:>8}{cut:>8}\
                 {whole:>8}{moved:>8}",
                row.wounds
            );
        }
        table
    }
}
