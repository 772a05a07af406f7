//! Every switch of every profile decides something: turned the other way, it changes what some litmus
//! program may leave.

use super::{Litmus, agreed, failed, further};
use crate::model::Profile;

type Switch = (&'static str, fn(&mut Profile) -> &mut bool);

const SWITCHES: [Switch; 8] = [
    ("torn_pages", |profile| &mut profile.torn_pages),
    ("size_before_data", |profile| &mut profile.size_before_data),
    ("stale_bytes", |profile| &mut profile.stale_bytes),
    ("safe_rename", |profile| &mut profile.safe_rename),
    ("safe_file_flush", |profile| &mut profile.safe_file_flush),
    ("ordered_entries", |profile| &mut profile.ordered_entries),
    ("total_order", |profile| &mut profile.total_order),
    ("process_only", |profile| &mut profile.process_only),
];

/// Switches that say only what the total order of their profile says too.
const FOLLOW: [(Profile, &[&str]); 2] = [
    (Profile::DATA_JOURNAL, &["size_before_data", "stale_bytes", "safe_rename", "ordered_entries"]),
    (
        Profile::PROCESS_KILL,
        // Syncs decide nothing where the machine lives.
        &["size_before_data", "stale_bytes", "safe_rename", "ordered_entries", "safe_file_flush"],
    ),
];

#[test]
fn every_switch_of_every_profile_changes_what_a_program_leaves() {
    let programs: Vec<Litmus> =
        agreed::ALL.iter().chain(further::ALL).chain(failed::ALL).map(|make| make()).collect();
    for profile in Profile::ALL {
        let follow = FOLLOW.iter().find(|(p, _)| *p == profile).map_or(&[][..], |(_, names)| names);
        for (name, switch) in SWITCHES {
            let mut turned = profile;
            let value = switch(&mut turned);
            *value = !*value;
            let caught = programs.iter().any(|p| p.outcomes(profile) != p.outcomes(turned));
            let follows = follow.contains(&name);
            assert_eq!(
                caught,
                !follows,
                "{name} of {profile} turned to {}",
                !*switch(&mut { profile })
            );
        }
    }
}
