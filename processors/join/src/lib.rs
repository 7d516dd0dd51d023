//! Pairs the two observations of one connection.

#![forbid(unsafe_code)]
