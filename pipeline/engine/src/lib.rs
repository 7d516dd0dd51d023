//! Builds, runs and drains the graph of components.

#![forbid(unsafe_code)]
