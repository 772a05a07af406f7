use std::time::Duration;

use crate::errno::{EIO, ENOSPC, Errno};
use crate::fault::{Keep, Leaves, Part, Place, Since, SyncFailure, Told};
use crate::plan::{OpKind, Plan, Rule, on};

#[test]
fn builder_and_text_are_two_forms_of_one_rule() {
    for (rule, text) in [
        (on::sync().fail(EIO), "sync * -> fail EIO"),
        (
            on::sync().path("*.wal").skip(2).take(1).fail(EIO),
            "sync *.wal skip 2 take 1 -> fail EIO",
        ),
        (on::any().skip(9).fail(EIO), "any * skip 9 -> fail EIO"),
        (on::rename().fail_after(EIO), "rename * -> fail-after EIO"),
        (on::rename().both_names(EIO), "rename * -> both-names EIO"),
        (on::set_len().grow(Part::Pages(2), ENOSPC), "set-len * -> grow 2 pages ENOSPC"),
        (on::write().lose(), "write * -> lose"),
        (on::write().misdirect(Place::at(512)), "write * -> misdirect to 512"),
        (on::read().misdirect(Place::in_file("a b", 0)), r#"read * -> misdirect to 0 of "a b""#),
        (
            on::write().torn(Keep::Last(Part::Units { count: 1, size: 16384 }), EIO),
            "write * -> torn last 1 units of 16384 EIO",
        ),
        (
            on::write().torn_silently(
                Keep::Hole { missing: Part::Sectors(2), after: 1 },
                Leaves::Garbage(7),
            ),
            "write * -> torn hole 2 sectors after 1 leaving garbage 7 silently",
        ),
        (
            on::write().torn_leaving(Part::Bytes(1), Leaves::Zeros, EIO),
            "write * -> torn 1 bytes leaving zeros EIO",
        ),
        (on::read().garbage(0..9, 3), "read * -> garbage 0..9 seed 3"),
        (on::read().stale(Since::Sync), "read * -> stale sync"),
        (on::read().stale(Since::Write), "read * -> stale write"),
        (on::read().latent(512..1024, EIO), "read * -> latent 512..1024 EIO"),
        (on::any().delay(Duration::from_millis(20)), "any * -> delay 20 ms"),
        (on::sync().stall(), "sync * -> stall"),
        (on::write().take(1).vanish(EIO), "write * take 1 -> vanish EIO"),
        (on::sync().skip(3).crash(), "sync * skip 3 -> crash"),
        (on::read().short(1), "read * -> short 1"),
        (on::read().path("db").flip(803), "read db -> flip 803"),
        (on::sync().take(1).lie(), "sync * take 1 -> lie"),
        (on::sync().fail_sync(SyncFailure::FREEBSD, EIO), "sync * -> fail-sync EIO as freebsd"),
        (
            on::sync().fail_sync(SyncFailure::XFS.of_bytes(0..4096), ENOSPC),
            "sync * -> fail-sync ENOSPC as xfs in 0..4096",
        ),
        (
            on::sync()
                .fail_sync(SyncFailure { told: Told::Nobody, ..SyncFailure::BTRFS_TREE }, EIO),
            "sync * -> fail-sync EIO pages clean told nobody size reverted then read-only",
        ),
        (on::sync_dir().lie(), "sync-dir * -> lie"),
        (on::sync_all().lie(), "sync-all * -> lie"),
        (on::write().take(3).short(512).optional(), "write * take 3 optional -> short 512"),
        (on::write().torn(Part::Bytes(0), EIO), "write * -> torn 0 bytes EIO"),
        (on::write().torn(Part::Sectors(3), ENOSPC), "write * -> torn 3 sectors ENOSPC"),
        (on::write().torn(Part::Pages(1), EIO), "write * -> torn 1 pages EIO"),
        (on::rename().path("db/CURRENT").fail(EIO), "rename db/CURRENT -> fail EIO"),
        (on::sync_dir().path(".").fail(EIO), "sync-dir . -> fail EIO"),
        (on::open().path("a b\"\\\n\u{1}é;#").fail(EIO), r#"open "a b\"\\\n\u{1}é;#" -> fail EIO"#),
        (
            on::write().path("db").at(4096..8192).per_file().skip(1).fail(EIO),
            "write db at 4096..8192 per-file skip 1 -> fail EIO",
        ),
        (
            on::read().take(2).sometimes(1, 64, 7).short(1),
            "read * take 2 sometimes 1/64 seed 7 -> short 1",
        ),
        (
            on::sync().path("*.wal").after_point("log_written").take(1).fail(EIO),
            "sync *.wal after point log_written take 1 -> fail EIO",
        ),
        (
            on::write().after_point("a;b c").at(0..9).fail(EIO),
            r#"write * after point "a;b c" at 0..9 -> fail EIO"#,
        ),
        (on::sync().after_point("->").fail(EIO), r#"sync * after point "->" -> fail EIO"#),
        (
            on::sync().path("*.wal|*-wal").thread("flush-*").from("src/wal.rs:7").fail(EIO),
            "sync *.wal|*-wal thread flush-* from src/wal.rs:7 -> fail EIO",
        ),
        (on::write().op(41).fail(EIO), "write * op 41 -> fail EIO"),
        (on::open().path("@wal").fail(EIO), r#"open "@wal" -> fail EIO"#),
        (on::open().path("->").fail(EIO), r#"open "->" -> fail EIO"#),
        (on::open().path("skip").fail(EIO), "open skip -> fail EIO"),
        (on::open().fail(Errno::from_raw(133)), "open * -> fail 133"),
    ] {
        assert_eq!(rule.to_string(), text);
        assert_eq!(text.parse::<Rule>(), Ok(rule));
    }
}

#[test]
fn every_kind_of_op_has_a_word_that_parses_and_offers_its_menu() {
    for kind in OpKind::ALL {
        let rule: Rule = format!("{kind} * -> fail EIO").parse().unwrap();
        assert_eq!(rule.op(), Some(*kind));
        let moves_bytes = matches!(kind, OpKind::Read | OpKind::Write);
        assert_eq!(format!("{kind} * -> short 1").parse::<Rule>().is_ok(), moves_bytes);
        let flips = format!("{kind} * -> flip 1").parse::<Rule>().is_ok();
        assert_eq!(flips, matches!(kind, OpKind::Read | OpKind::Load));
        let lies = format!("{kind} * -> lie").parse::<Rule>().is_ok();
        let syncs = [OpKind::Sync, OpKind::SyncDir, OpKind::SyncAll, OpKind::SyncMap];
        assert_eq!(lies, syncs.contains(kind));
        let after = format!("{kind} * -> fail-after EIO").parse::<Rule>().is_ok();
        assert_eq!(after, kind.is_change() && *kind != OpKind::Store);
        for word in ["delay 1 ms", "stall", "vanish EIO", "crash"] {
            assert!(format!("{kind} * -> {word}").parse::<Rule>().is_ok(), "{kind} {word}");
        }
        let torn = format!("{kind} * -> torn 1 bytes EIO").parse::<Rule>().is_ok();
        assert_eq!(torn, *kind == OpKind::Write);
    }
}

#[test]
fn rules_are_separated_by_semicolons_or_lines_and_comments_are_left_out() {
    let text = "# a plan\n; sync *.wal -> fail EIO ;; # the log\n\n  write * -> short 7\n";
    let plan: Plan = text.parse().unwrap();
    assert_eq!(plan, Plan::from([on::sync().path("*.wal").fail(EIO), on::write().short(7)]));
    assert_eq!(plan.to_string().parse(), Ok(plan));
    assert_eq!(" \n".parse(), Ok(Plan::new()));
    let text = "role wal = *.wal|*-wal; role log = @wal; sync @log -> fail EIO";
    let plan: Plan = text.parse().unwrap();
    assert_eq!(plan, Plan::from([on::sync().path("*.wal|*-wal").fail(EIO)]));
    assert_eq!(plan.to_string(), "sync *.wal|*-wal -> fail EIO");
}

#[test]
fn a_bad_plan_names_the_column_and_the_mend() {
    for (text, expected) in [
        ("snyc * -> fail EIO", "column 1: unknown op `snyc`; did you mean `sync`?"),
        (
            "sync -> fail EIO",
            "column 6: unexpected `->`; write which paths after the op, `*` for all",
        ),
        ("sync", "column 5: the plan ends here; write which paths after the op, `*` for all"),
        ("sync a[ -> fail EIO", "column 6: `a[` is not a path pattern: "),
        ("sync * skip -> fail EIO", "column 13: unexpected `->`; write a whole number from 0 on"),
        (
            "sync * skip -1 -> fail EIO",
            "column 13: unexpected `-1`; write a whole number from 0 on",
        ),
        ("sync * take 0 -> fail EIO", "column 13: unexpected `0`; write a whole number from 1 on"),
        ("sync * skip 1 skip 2 -> fail EIO", "column 15: `skip` is said twice; leave one out"),
        (
            "sync * nth 3 -> fail EIO",
            "column 8: unexpected `nth`; write `skip N`, `take N`, `at N..M`, ",
        ),
        (
            "sync * after log_written -> fail EIO",
            "column 14: unexpected `log_written`; write `after point` and the name",
        ),
        (
            "sync * after point -> fail EIO",
            "column 20: unexpected `->`; write the name of a fail point after `point`",
        ),
        ("sync * after point", "column 19: the plan ends here; write the name of a fail"),
        (
            "sync * after point a after point b -> fail EIO",
            "column 22: `after` is said twice; leave one out",
        ),
        ("sync * fail EIO", "column 8: unexpected `fail`; write `skip N`, `take N`, `at N..M`"),
        (
            "sync * -> short 5",
            "column 11: `short` is no fault of `sync`; `sync` can: fail, fail-after, fail-sync, ",
        ),
        (
            "write * -> trn 1 bytes EIO",
            "column 12: `trn` is no fault of `write`; did you mean `torn`?",
        ),
        ("write * -> short 0", "column 18: unexpected `0`; write a whole number from 1 on"),
        (
            "write * -> torn 3 blocks EIO",
            "column 19: unexpected `blocks`; write `bytes`, `sectors`",
        ),
        ("write * -> torn hole 1 pages EIO", "column 30: unexpected `EIO`; write `after`"),
        ("read * -> stale", "column 16: the plan ends here; write `write` or `sync`"),
        ("sync * -> fail-sync EIO", "column 24: the plan ends here; write `as` or `pages`"),
        (
            "sync * -> fail-sync EIO as zfs",
            "column 28: unexpected `zfs`; write `ext4-ordered` or `ext4-data-journal` or `xfs`",
        ),
        (
            "role wal = *.wal; sync @wla -> fail EIO",
            "column 24: unknown role `@wla`; did you mean `@wal`?",
        ),
        ("sync @wal -> fail EIO", "column 6: unknown role `@wal`; write `role wal = PATTERN`"),
        ("role wal *.wal", "column 10: unexpected `*.wal`; write `=`"),
        ("role a = b; role a = c", "column 18: the role `a` is said twice; leave one out"),
        ("sync * from wal.rs:x -> fail EIO", "column 13: `wal.rs:x` is no place in the source; "),
        ("sync * thread -> fail EIO", "column 15: unexpected `->`; write the name of the thread"),
        ("any * -> delay 5", "column 17: the plan ends here; write `ms`"),
        ("read * -> fail-after EIO", "column 11: `fail-after` is no fault of `read`; "),
        ("write * -> misdirect 5", "column 22: unexpected `5`; write `to`"),
        (
            "sync * -> fail ENOSPACE",
            "column 16: `ENOSPACE` is not an error number; did you mean `ENOSPC`?",
        ),
        ("sync * -> fail", "column 15: the plan ends here; write the error, such as `EIO`"),
        ("sync * -> fail EIO take 1", "column 20: unexpected `take`; separate rules with `;`"),
        ("sync \"a -> fail EIO", "column 6: a quote that does not end; close it with `\"`"),
        (r#"sync "a\d" -> fail EIO"#, "column 8: unknown escape"),
        ("é; sync * -> fail EIO", "column 1: unknown op `é`; write one of: open, create, "),
        ("sync * -> fail EIO\nsync é wrong", "line 2, column 8: unexpected `wrong`"),
        ("sync * ->\n", "column 10: the rule ends here"),
    ] {
        let error = text.parse::<Plan>().unwrap_err().to_string();
        let message = error.strip_prefix("plan, ").unwrap_or(&error);
        assert!(message.starts_with(expected), "{text:?}\n  said {message}\n  not  {expected}");
    }
    let two = "sync * -> fail EIO; sync * -> fail EIO".parse::<Rule>().unwrap_err();
    assert!(two.to_string().starts_with("expected one rule, found 2"), "{two}");
}
