//! A faulty filesystem and the crash explorer.
