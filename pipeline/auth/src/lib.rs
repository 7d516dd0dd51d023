//! Who sends a request: tokens and passwords, of those who send and those who take.
//!
//! [`ClientAuth`] are the settings of whoever sends, and make [`Credentials`]; [`ServerAuth`] are those of whoever takes, and make
//! a [`Guard`]. Files are read again when they have changed, as certificates are. Nothing here shows a secret.

#![forbid(unsafe_code)]

mod config;
mod credentials;
mod guard;
mod htpasswd;

pub use self::{
    config::{ClientAuth, ClientBasic, ClientBearer, Htpasswd, ServerAuth, ServerBasic, ServerBearer},
    credentials::Credentials,
    guard::Guard,
};
