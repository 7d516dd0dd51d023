//! Tests that need root, a kernel or a real backend.

#![forbid(unsafe_code)]
