//! Plans as text.
//!
//! ```text
//! plan  = line { (";" | newline) line }
//! line  = rule | "role" name "=" pattern
//! rule  = op pattern { when } "->" fault
//! when  = "thread" pattern | "from" file [ ":" line ] | "op" number
//!       | "after" "point" name | "at" first ".." end | "per-file" | "skip" count | "take" count
//!       | "sometimes" count "/" count [ "seed" number ] | "optional"
//! fault = "fail" errno | "fail-after" errno | "short" bytes
//!       | "fail-sync" errno ( "as" profile | "pages" word "told" word "size" word "then" word )
//!         [ "in" first ".." end ]
//!       | "torn" keep [ "leaving" ( "zeros" | "garbage" seed ) ] ( errno | "silently" ) | "lose"
//!       | "grow" part errno | "both-names" errno | "misdirect" "to" offset [ "of" file ]
//!       | "lie" | "flip" bit | "garbage" first ".." end "seed" number | "stale" ( "write" | "sync" )
//!       | "latent" first ".." end errno
//!       | "delay" milliseconds "ms" | "stall" | "vanish" errno | "crash"
//! keep  = [ "last" ] part | "hole" part "after" count
//! part  = count ( "bytes" | "sectors" | "pages" | "units" "of" bytes )
//! ```
//!
//! A role is a name for a pattern: after `role wal = *.wal|*-wal` a rule says `@wal` for it. A plan prints the
//! patterns. `op` is a word of [`OpKind`] or `any`. A pattern or name with blanks, quotes or `;` is put in quotes as
//! a Rust string. `#` starts a comment up to the end of the line.

mod fault;
mod rule;
#[cfg(test)]
mod tests;
mod words;

use std::fmt;

use words::is_plain;

/// Stands for every kind of op.
const ANY: &str = "any";

/// A blank, and the word, in quotes where it needs them.
fn write_word(f: &mut fmt::Formatter<'_>, word: &str) -> fmt::Result {
    match is_plain(word) {
        true => write!(f, " {word}"),
        false => write!(f, " {word:?}"),
    }
}
