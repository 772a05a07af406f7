//! Every cell of the profile table decides something: given another value, it changes what some litmus
//! program may leave.

use super::{Litmus, all};
use crate::model::{Kept, Profile};

type Switch = (&'static str, fn(&mut Profile) -> &mut bool);

const SWITCHES: [Switch; 11] = [
    ("atomic_rename", |profile| &mut profile.atomic_rename),
    ("torn_pages", |profile| &mut profile.torn_pages),
    ("size_before_data", |profile| &mut profile.size_before_data),
    ("size_within_block", |profile| &mut profile.size_within_block),
    ("stale_bytes", |profile| &mut profile.stale_bytes),
    ("size_without_failed_data", |profile| &mut profile.size_without_failed_data),
    ("failed_blocks_stay_unwritten", |profile| &mut profile.failed_blocks_stay_unwritten),
    ("safe_rename", |profile| &mut profile.safe_rename),
    ("safe_file_flush", |profile| &mut profile.safe_file_flush),
    ("intent_log", |profile| &mut profile.intent_log),
    ("process_only", |profile| &mut profile.process_only),
];

const ORDERS: [Kept; 5] = [Kept::Nothing, Kept::Names, Kept::Log, Kept::Metadata, Kept::Everything];

/// What says only what another cell of the profile says too.
fn follows(profile: Profile, name: &str) -> bool {
    match name {
        // A prefix of everything has these.
        "size_before_data" | "stale_bytes" => profile.order == Kept::Everything,
        "size_within_block" => profile.size_before_data || profile.order == Kept::Everything,
        // Syncs decide nothing where the machine lives.
        "failed_blocks_stay_unwritten" => profile.process_only,
        // The size does not wait for its data anyhow, or everything waits.
        "size_without_failed_data" => profile.size_before_data || profile.order == Kept::Everything,
        // Sizes come before the names that are changed after them, and no size without the page that it adds.
        "safe_rename" => match profile.order {
            Kept::Everything => !profile.intent_log,
            order => order == Kept::Metadata && !profile.size_before_data,
        },
        // Syncs decide nothing where the machine lives; an intent log takes all names.
        "safe_file_flush" => profile.process_only || profile.intent_log,
        "intent_log" => profile.process_only,
        _ => false,
    }
}

/// The names of all cells: one that is added does not compile until it is turned too.
fn cells(profile: Profile) -> [(&'static str, bool); 11] {
    let Profile {
        name: _,
        atomic_rename,
        torn_pages,
        size_before_data,
        size_within_block,
        stale_bytes,
        size_without_failed_data,
        failed_blocks_stay_unwritten,
        safe_rename,
        safe_file_flush,
        order: Kept::Nothing | Kept::Names | Kept::Log | Kept::Metadata | Kept::Everything,
        intent_log,
        process_only,
    } = profile;
    [
        ("atomic_rename", atomic_rename),
        ("torn_pages", torn_pages),
        ("size_before_data", size_before_data),
        ("size_within_block", size_within_block),
        ("stale_bytes", stale_bytes),
        ("size_without_failed_data", size_without_failed_data),
        ("failed_blocks_stay_unwritten", failed_blocks_stay_unwritten),
        ("safe_rename", safe_rename),
        ("safe_file_flush", safe_file_flush),
        ("intent_log", intent_log),
        ("process_only", process_only),
    ]
}

#[test]
fn every_cell_is_turned() {
    for (name, switch) in SWITCHES {
        let mut profile = Profile::POSIX;
        let before = cells(profile);
        let value = switch(&mut profile);
        *value = !*value;
        let turned = before.iter().zip(cells(profile)).filter(|(cell, now)| **cell != *now);
        assert_eq!(turned.map(|(cell, _)| cell.0).collect::<Vec<_>>(), [name]);
    }
}

/// The profile with each of its cells at each of its other values, by the cell's name.
fn turned(profile: Profile) -> Vec<(&'static str, Profile)> {
    let mut out = Vec::new();
    for (name, switch) in SWITCHES {
        let mut turned = profile;
        let value = switch(&mut turned);
        *value = !*value;
        out.push((name, turned));
    }
    let others = ORDERS.into_iter().filter(|order| *order != profile.order);
    out.extend(others.map(|order| ("order", Profile { order, ..profile })));
    out
}

#[test]
fn every_cell_of_every_profile_changes_what_a_program_leaves() {
    let programs: Vec<Litmus> = all().map(|(_, make)| make()).collect();
    for profile in Profile::every() {
        for (name, turned) in turned(profile) {
            let caught = programs.iter().any(|p| p.outcomes(turned) != p.expected(profile));
            assert_eq!(caught, !follows(profile, name), "{name} of {profile}: {turned:?}");
        }
    }
}
