//! Writes flow records as JSON lines.

#![forbid(unsafe_code)]
