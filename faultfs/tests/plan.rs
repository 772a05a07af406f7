//! Plan text: whatever is written, it parses to a plan that prints itself, or to an error that says where.

use faultfs::plan::{OpKind, Plan};
use proptest::prelude::*;
use proptest::sample::select;

/// Words that mean something to the parser, and some that do not.
fn word() -> impl Strategy<Value = String> {
    let kinds = OpKind::ALL.iter().map(|kind| kind.word());
    let others = [
        "any",
        "*",
        "*.wal",
        "db/**",
        "a[",
        "\"a b\"",
        "\"",
        "\\",
        "->",
        "skip",
        "take",
        "at",
        "per-file",
        "sometimes",
        "seed",
        "optional",
        "fail",
        "fail-after",
        "fail-sync",
        "as",
        "btrfs",
        "pages",
        "clean",
        "told",
        "nobody",
        "size",
        "reverted",
        "then",
        "shut-down",
        "in",
        "short",
        "torn",
        "lie",
        "flip",
        "grow",
        "both-names",
        "lose",
        "misdirect",
        "to",
        "of",
        "garbage",
        "stale",
        "latent",
        "delay",
        "ms",
        "stall",
        "vanish",
        "crash",
        "last",
        "hole",
        "after",
        "leaving",
        "zeros",
        "silently",
        "units",
        "bytes",
        "sectors",
        "pages",
        "EIO",
        "ENOSPC",
        "0",
        "1",
        "7",
        "18446744073709551615",
        "18446744073709551616",
        "-1",
        "0..9",
        "9..0",
        "1/2",
        "2/1",
        "é",
        ";",
        "\n",
        "# no\n",
    ];
    select(kinds.chain(others).map(str::to_owned).collect::<Vec<_>>())
}

/// A rule that is written as it should be.
fn rule() -> impl Strategy<Value = String> {
    let pattern = "[a-z*?./ |@\"\\\\;#éß]{1,8}".prop_map(|pattern| format!("{pattern:?}"));
    let when = prop_oneof![
        Just(String::new()),
        any::<u64>().prop_map(|skip| format!("skip {skip}")),
        (1..u64::MAX).prop_map(|take| format!("per-file take {take}")),
        (1u32..9, any::<u64>())
            .prop_map(|(n, seed)| format!("sometimes {n}/9 seed {seed} optional")),
        any::<u64>().prop_map(|number| format!("op {number} thread flush-*")),
        (1u32..).prop_map(|line| format!("from src/wal.rs:{line} after point p")),
    ];
    (fault(), pattern, when)
        .prop_map(|((op, fault), pattern, when)| format!("{op} {pattern} {when} -> {fault}"))
}

/// An op and something that can go wrong with it.
fn fault() -> impl Strategy<Value = (&'static str, String)> {
    let errno = || select(vec!["EIO", "ENOSPC", "133"]);
    let part = || {
        let units = ["bytes", "sectors", "pages", "units of 16384"];
        (any::<u64>(), select(units.to_vec())).prop_map(|(count, unit)| format!("{count} {unit}"))
    };
    let any_op = select(vec!["read", "write", "sync", "rename", "any"]);
    let anywhere = prop_oneof![
        errno().prop_map(|errno| format!("fail {errno}")),
        errno().prop_map(|errno| format!("vanish {errno}")),
        any::<u32>().prop_map(|ms| format!("delay {ms} ms")),
        select(vec!["stall", "crash"]).prop_map(str::to_owned),
    ];
    let keep = prop_oneof![
        part(),
        part().prop_map(|part| format!("last {part}")),
        (part(), any::<u64>()).prop_map(|(part, after)| format!("hole {part} after {after}")),
    ];
    let leaving = select(vec!["", "leaving zeros", "leaving garbage 7"]);
    let told = select(vec!["EIO", "silently"]);
    let torn = (keep, leaving, told).prop_map(|(k, l, t)| ("write", format!("torn {k} {l} {t}")));
    let reads = (any::<u32>(), 1..u32::MAX, any::<u64>(), errno()).prop_flat_map(
        |(first, len, seed, errno)| {
            let bytes = format!("{first}..{}", u64::from(first) + u64::from(len));
            select(vec![
                ("read", format!("garbage {bytes} seed {seed}")),
                ("read", format!("latent {bytes} {errno}")),
                ("read", format!("misdirect to {seed} of \"a b\"")),
                ("write", format!("misdirect to {seed}")),
                ("read", "stale write".into()),
                ("read", "stale sync".into()),
                ("write", "lose".into()),
                ("sync", format!("fail-sync {errno} as btrfs in {bytes}")),
            ])
        },
    );
    let sync = (
        select(vec!["clean", "reverted", "dirty"]),
        select(vec!["caller", "every-handle", "caller-later", "first-opener", "nobody"]),
        select(vec!["persisted", "reverted"]),
        select(vec!["go-on", "read-only", "shut-down"]),
    );
    let sync = sync.prop_map(|(pages, told, size, then)| {
        ("sync", format!("fail-sync EIO pages {pages} told {told} size {size} then {then}"))
    });
    let changes = (part(), errno()).prop_flat_map(|(part, errno)| {
        select(vec![
            ("set-len", format!("grow {part} {errno}")),
            ("rename", format!("both-names {errno}")),
            ("remove", format!("fail-after {errno}")),
        ])
    });
    prop_oneof![(any_op, anywhere), torn, reads, sync, changes]
}

/// Prints and parses back; an error names its column and says something.
fn check(text: &str) -> Result<(), TestCaseError> {
    match text.parse::<Plan>() {
        Ok(plan) => prop_assert_eq!(plan.to_string().parse::<Plan>(), Ok(plan)),
        Err(error) => {
            let error = error.to_string();
            prop_assert!(error.starts_with("plan, "), "{}", error);
            let (_, rest) = error.split_once("column ").expect("the error names a column");
            let (column, message) = rest.split_once(": ").expect("the error says what is wrong");
            let longest = text.split('\n').map(|line| line.chars().count()).max().unwrap_or(0);
            let column: usize = column.parse().expect("a number");
            prop_assert!((1..=longest + 1).contains(&column), "{}", error);
            prop_assert!(message.contains(';') || message.contains("character"), "{}", error);
        }
    }
    Ok(())
}

proptest! {
    // The same cases in every run.
    #![proptest_config(ProptestConfig {
        cases: 4000,
        rng_seed: proptest::test_runner::RngSeed::Fixed(4),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_text_is_a_plan_or_an_error_with_a_place(text in "\\PC{0,60}") {
        check(&text)?;
    }

    #[test]
    fn any_words_are_a_plan_or_an_error_with_a_place(words in prop::collection::vec(word(), 0..14)) {
        check(&words.join(" "))?;
    }

    #[test]
    fn a_plan_that_parses_prints_itself(rules in prop::collection::vec(rule(), 1..4)) {
        let text = rules.join(";");
        // Only a pattern can be wrong here.
        match text.parse::<Plan>() {
            Ok(plan) => {
                prop_assert_eq!(plan.rules().len(), rules.len());
                prop_assert_eq!(plan.to_string().parse::<Plan>(), Ok(plan));
            }
            Err(error) => prop_assert!(error.to_string().contains("pattern"), "{}", error),
        }
    }
}
