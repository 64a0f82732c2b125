//! Empty: the shared library is what `build.rs` makes.
