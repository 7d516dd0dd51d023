//! Observes TCP connections where the kernel keeps their totals.

#![forbid(unsafe_code)]
