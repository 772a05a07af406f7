//! The interposed door.
