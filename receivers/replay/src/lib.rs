//! Reads recorded flows from a file.

#![forbid(unsafe_code)]
