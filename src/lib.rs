//! Named fail points for production code.
