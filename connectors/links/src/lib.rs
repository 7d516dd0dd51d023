//! Turns flows into metrics per link.

#![forbid(unsafe_code)]
