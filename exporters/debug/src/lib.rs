//! Prints links as a readable table.

#![forbid(unsafe_code)]
