//! A read that can be made to fail with the engine's own error.
//!
//! ```sh
//! cargo run --example get_error --features failpoints
//! FAILPOINTS='get_fails_with_error=1*off->return(checksum of block 7)' \
//!     cargo run --example get_error --features failpoints
//! ```

use std::collections::BTreeMap;
use std::fmt;

use faultpoint::{FailScenario, fail_point};

type Value = Vec<u8>;
type Result<T> = std::result::Result<T, Error>;

#[derive(Debug)]
enum Error {
    NotFound,
    Corrupt(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotFound => f.write_str("not found"),
            Error::Corrupt(what) => write!(f, "corrupt: {what}"),
        }
    }
}

struct Store {
    values: BTreeMap<&'static str, Value>,
}

impl Store {
    fn get(&self, key: &str) -> Result<Value> {
        fail_point!("get_fails_with_error", |reason| {
            Err(Error::Corrupt(reason.unwrap_or_else(|| "a block".to_owned())))
        });
        self.values.get(key).cloned().ok_or(Error::NotFound)
    }
}

fn main() {
    let scenario = FailScenario::setup();
    let store = Store { values: BTreeMap::from([("a", b"1".to_vec()), ("b", b"2".to_vec())]) };
    for key in ["a", "b", "c"] {
        match store.get(key) {
            Ok(value) => println!("{key}: {}", String::from_utf8_lossy(&value)),
            Err(error) => println!("{key}: {error}"),
        }
    }
    scenario.teardown();
}
