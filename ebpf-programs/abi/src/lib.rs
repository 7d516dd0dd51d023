//! Records that the eBPF programs share with the receiver.

#![forbid(unsafe_code)]
