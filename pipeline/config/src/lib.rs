//! Reads, layers and checks the configuration of a Ridley pipeline.

#![forbid(unsafe_code)]
