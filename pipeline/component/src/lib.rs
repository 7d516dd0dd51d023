//! What a component of a Ridley pipeline is, and what it is given.
//!
//! A component crate exports one [`Factory`]. The factory turns the component's section of the configuration into
//! checked [`Settings`], without side effects; [`Settings::create`] then acquires what the component needs (sockets,
//! kernel programs), and the [`Receiver`], [`Processor`] or [`Exporter`] it yields runs until its input ends.
//!
//! Components never name each other, and never spawn a task that they do not await.

#![forbid(unsafe_code)]

mod channel;
mod component;
mod episode;
mod error;
mod factory;
mod id;
mod notices;
mod secret;
mod shutdown;
mod telemetry;

pub use self::{
    channel::{ChannelSender, Closed, Input, Output, Producers, channel},
    component::{BoxFuture, Context, Created, Exporter, Processor, Receiver},
    episode::{Episode, EpisodeChange},
    error::{BoxError, ErrorChain},
    factory::{Config, Factory, InvalidSetting, Kind, Permission, Settings, Stability},
    id::{Id, InvalidId},
    notices::Notices,
    secret::Secret,
    shutdown::{Shutdown, ShutdownTrigger},
    telemetry::{Counter, Dropped, Gauge, Registry, Telemetry},
};
