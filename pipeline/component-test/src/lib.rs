//! Fakes, and the compliance check that every component runs.

#![forbid(unsafe_code)]
