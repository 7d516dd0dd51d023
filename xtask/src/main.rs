//! Everything with logic that cargo cannot express.

#![forbid(unsafe_code)]

fn main() {}
