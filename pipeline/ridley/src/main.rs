//! Maps who talks to whom, and how well, with eBPF.

#![forbid(unsafe_code)]

fn main() {}
