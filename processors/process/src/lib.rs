//! Names the ends of connections on a plain host.

#![forbid(unsafe_code)]
