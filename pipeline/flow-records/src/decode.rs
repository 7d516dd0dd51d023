use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use model::{
    Attribute, Before, Begin, End, Endpoint, Entity, EntityCache, Flow, Interval, Listener, Local, Logs,
    Observer, Process, Rtt, TraceId, Traffic, Transport, UnixNanos,
};
use opentelemetry_proto::tonic::{
    common::v1::{KeyValue, any_value::Value},
    logs::v1::LogRecord,
};
use prost::DecodeError;

use crate::names::{self, DirectionNames, EndNames};

/// Most entities that are kept to be shared by records. With names of the usual length some megabytes.
const MAX_ENTITIES: NonZeroUsize = NonZeroUsize::new(20_000).expect("20 000 is not zero");

/// Reads log records.
#[derive(Debug)]
pub struct Decoder {
    entities: EntityCache<Entity>,
}

/// What was found in log records.
#[derive(Debug, Default, PartialEq)]
pub struct Decoded {
    /// Flow records, in their order.
    pub flows: Vec<Flow>,
    /// Reports on listening sockets, in their order.
    pub listeners: Vec<Listener>,
    /// How many log records are of another event, or of none.
    pub n_others: u64,
    /// How many have the event of a record, and lack what it must have, or have something else in its place.
    pub n_malformed: u64,
}

/// A log record that has the event of a record and is none: by an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Malformed(&'static str);

impl Default for Decoder {
    fn default() -> Self {
        Self { entities: EntityCache::new(MAX_ENTITIES) }
    }
}

impl Decoder {
    /// Reads what is inside of a batch.
    ///
    /// # Errors
    ///
    /// It came encoded, and is not as OTLP has it.
    pub fn decode(&mut self, logs: &Logs) -> Result<Decoded, DecodeError> {
        let data = logs.decode()?;
        let mut decoded = Decoded::default();
        let scopes = data.resource_logs.iter().flat_map(|it| &it.scope_logs);
        for record in scopes.flat_map(|it| &it.log_records) {
            match record.event_name.as_str() {
                names::FLOW => match self.flow(record) {
                    Ok(flow) => decoded.flows.push(flow),
                    Err(Malformed(_)) => decoded.n_malformed += 1,
                },
                names::LISTENER => match self.listener(record) {
                    Ok(listener) => decoded.listeners.push(listener),
                    Err(Malformed(_)) => decoded.n_malformed += 1,
                },
                _ => decoded.n_others += 1,
            }
        }
        Ok(decoded)
    }

    fn flow(&mut self, record: &LogRecord) -> Result<Flow, Malformed> {
        let found = Found::of(record)?;
        let id = match &record.trace_id[..] {
            [] => None,
            trace => Some(TraceId::connection(trace).ok_or(Malformed("trace_id"))?),
        };
        let end = match (found.end, found.close_reason, found.error_type) {
            (None, ..) => None,
            (Some(names::CLOSED), reason, _) => {
                let reason = reason.and_then(names::close_reason).ok_or(Malformed(names::CLOSE_REASON))?;
                Some(End::Closed(reason))
            }
            (Some(names::FAILED), _, reason) => {
                let reason = reason.and_then(names::failure_reason).ok_or(Malformed(names::ERROR_TYPE))?;
                Some(End::Failed(reason))
            }
            (Some(names::AGAIN), ..) => Some(End::Again),
            (Some(_), ..) => return Err(Malformed(names::END)),
        };
        let rtt = match (found.rtt, found.min_rtt) {
            (None, None) => None,
            (Some(smoothed), Some(min)) => Some(Rtt { smoothed, min }),
            _ => return Err(Malformed(names::RTT)),
        };
        let before = match (found.before_request, found.before_response) {
            (None, None) => None,
            (Some(request), Some(response)) => Some(Before { request, response }),
            _ => return Err(Malformed(names::BEFORE_REQUEST)),
        };
        let Found {
            observer,
            transport,
            client,
            server,
            started,
            other_is_observed,
            is_joined,
            begin,
            request,
            response,
            connect,
            server_handshake,
            ..
        } = found;
        Ok(Flow {
            id,
            observer: observer.ok_or(Malformed(names::OBSERVER))?,
            transport: transport.ok_or(Malformed(names::TRANSPORT))?,
            client: client.endpoint(&mut self.entities, &names::CLIENT)?,
            server: server.endpoint(&mut self.entities, &names::SERVER)?,
            started: started.map(UnixNanos),
            interval: found.interval,
            other_is_observed,
            is_joined,
            begin,
            end,
            before,
            request,
            response,
            rtt,
            connect,
            server_handshake,
            local: found.local,
        })
    }

    fn listener(&mut self, record: &LogRecord) -> Result<Listener, Malformed> {
        let Found { transport, server, interval, dropped, cookies, queued, queue_limit, local, .. } =
            Found::of(record)?;
        Ok(Listener {
            transport: transport.ok_or(Malformed(names::TRANSPORT))?,
            server: server.endpoint(&mut self.entities, &names::SERVER)?,
            interval,
            dropped,
            cookies,
            queued,
            queue_limit,
            local,
        })
    }
}

/// What attributes say, before it is known whether that is all that is needed.
#[derive(Debug, Default)]
struct Found<'a> {
    observer: Option<Observer>,
    transport: Option<Transport>,
    client: FoundEnd<'a>,
    server: FoundEnd<'a>,
    started: Option<u64>,
    interval: Interval,
    other_is_observed: bool,
    is_joined: bool,
    begin: Option<Begin>,
    end: Option<&'a str>,
    close_reason: Option<&'a str>,
    error_type: Option<&'a str>,
    before_request: Option<u64>,
    before_response: Option<u64>,
    request: Traffic,
    response: Traffic,
    rtt: Option<Duration>,
    min_rtt: Option<Duration>,
    connect: Option<Duration>,
    server_handshake: Option<Duration>,
    dropped: u64,
    cookies: Duration,
    queued: u32,
    queue_limit: u32,
    local: Local,
}

#[derive(Debug, Default)]
struct FoundEnd<'a> {
    address: Option<&'a str>,
    port: Option<u16>,
    name: Option<&'a str>,
    namespace: Option<&'a str>,
    kind: Option<&'a str>,
    attributes: Vec<(Attribute, &'a str)>,
}

impl<'a> Found<'a> {
    fn of(record: &'a LogRecord) -> Result<Self, Malformed> {
        let end = UnixNanos(record.time_unix_nano);
        let mut found = Self { interval: Interval { start: end, end }, ..Self::default() };
        let (mut pid, mut command) = (None, None);
        for attribute in &record.attributes {
            let of = |name| Attributed { attribute, name };
            match attribute.key.as_str() {
                names::OBSERVER => found.observer = Some(of(names::OBSERVER).word(observer)?),
                names::TRANSPORT => found.transport = Some(of(names::TRANSPORT).word(transport)?),
                names::START => found.interval.start = UnixNanos(of(names::START).number()?),
                names::STARTED => found.started = Some(of(names::STARTED).number()?),
                names::OTHER_IS_OBSERVED => {
                    found.other_is_observed = of(names::OTHER_IS_OBSERVED).flag()?;
                }
                names::IS_JOINED => found.is_joined = of(names::IS_JOINED).flag()?,
                names::BEGIN => found.begin = Some(of(names::BEGIN).word(begin)?),
                names::END => found.end = Some(of(names::END).text()?),
                names::CLOSE_REASON => found.close_reason = Some(of(names::CLOSE_REASON).text()?),
                names::ERROR_TYPE => found.error_type = Some(of(names::ERROR_TYPE).text()?),
                names::BEFORE_REQUEST => found.before_request = Some(of(names::BEFORE_REQUEST).number()?),
                names::BEFORE_RESPONSE => found.before_response = Some(of(names::BEFORE_RESPONSE).number()?),
                names::RTT => found.rtt = Some(of(names::RTT).nanos()?),
                names::MIN_RTT => found.min_rtt = Some(of(names::MIN_RTT).nanos()?),
                names::CONNECT => found.connect = Some(of(names::CONNECT).nanos()?),
                names::SERVER_HANDSHAKE => {
                    found.server_handshake = Some(of(names::SERVER_HANDSHAKE).nanos()?);
                }
                names::CGROUP => found.local.cgroup = Some(of(names::CGROUP).text()?.into()),
                names::NETNS => found.local.netns = of(names::NETNS).small()?,
                names::PID => pid = Some(of(names::PID).small()?),
                names::COMMAND => command = Some(of(names::COMMAND).text()?),
                names::DROPPED => found.dropped = of(names::DROPPED).number()?,
                names::COOKIES => found.cookies = of(names::COOKIES).nanos()?,
                names::QUEUED => found.queued = of(names::QUEUED).small()?,
                names::QUEUE_LIMIT => found.queue_limit = of(names::QUEUE_LIMIT).small()?,
                key => {
                    // What a later version adds is left out.
                    let _is_known = found.client.take(&names::CLIENT, attribute)?
                        || found.server.take(&names::SERVER, attribute)?
                        || take_direction(&names::REQUEST, key, &mut found.request, attribute)?
                        || take_direction(&names::RESPONSE, key, &mut found.response, attribute)?;
                }
            }
        }
        found.local.process = match (pid, command) {
            (None, None) => None,
            (Some(pid), Some(command)) => Some(Process { pid, command: command.into() }),
            _ => return Err(Malformed(names::PID)),
        };
        Ok(found)
    }
}

impl<'a> FoundEnd<'a> {
    /// Takes an attribute if it is of this end.
    fn take(&mut self, names: &EndNames, attribute: &'a KeyValue) -> Result<bool, Malformed> {
        let Some(rest) = attribute.key.strip_prefix(names.prefix) else { return Ok(false) };
        let of = |name| Attributed { attribute, name };
        match rest {
            "address" => self.address = Some(of(names.address).text()?),
            "port" => self.port = Some(of(names.port).small()?),
            "name" => self.name = Some(of(names.name).text()?),
            "namespace" => self.namespace = Some(of(names.namespace).text()?),
            "kind" => self.kind = Some(of(names.kind).text()?),
            other => {
                if let Ok(known) = other.parse() {
                    self.attributes.push((known, of(names.prefix).text()?));
                }
            }
        }
        Ok(true)
    }

    fn endpoint(self, entities: &mut EntityCache<Entity>, names: &EndNames) -> Result<Endpoint, Malformed> {
        let Self { address, port, name, namespace, kind, attributes } = self;
        let address = address.and_then(|it| it.parse().ok()).ok_or(Malformed(names.address))?;
        let port = port.ok_or(Malformed(names.port))?;
        let mut endpoint = Endpoint::new(address, port);
        let Some(name) = name else { return Ok(endpoint) };
        if name.is_empty() {
            return Err(Malformed(names.name));
        }
        let mut entity = Entity::new(name, kind.ok_or(Malformed(names.kind))?);
        entity.namespace = namespace.map(Arc::from);
        for (attribute, value) in attributes {
            entity.set_attribute(attribute, value);
        }
        endpoint.entity = Some(entities.get(entity, Entity::clone));
        Ok(endpoint)
    }
}

fn take_direction(
    names: &DirectionNames,
    key: &str,
    traffic: &mut Traffic,
    attribute: &KeyValue,
) -> Result<bool, Malformed> {
    let of = |name| Attributed { attribute, name };
    if key == names.bytes {
        traffic.bytes = of(names.bytes).number()?;
    } else if key == names.segments {
        traffic.segments = of(names.segments).number()?;
    } else if key == names.retransmitted_segments {
        traffic.retransmitted_segments = of(names.retransmitted_segments).number()?;
    } else if key == names.retransmitted_bytes {
        traffic.retransmitted_bytes = of(names.retransmitted_bytes).number()?;
    } else if key == names.out_of_order_segments {
        traffic.out_of_order_segments = of(names.out_of_order_segments).number()?;
    } else if key == names.receive_window_limited {
        traffic.receive_window_limited = of(names.receive_window_limited).nanos()?;
    } else {
        return Ok(false);
    }
    Ok(true)
}

/// An attribute whose value must be of one kind.
struct Attributed<'a> {
    attribute: &'a KeyValue,
    name: &'static str,
}

impl<'a> Attributed<'a> {
    fn value(&self) -> Option<&'a Value> {
        self.attribute.value.as_ref()?.value.as_ref()
    }

    fn text(&self) -> Result<&'a str, Malformed> {
        match self.value() {
            Some(Value::StringValue(text)) => Ok(text),
            _ => Err(Malformed(self.name)),
        }
    }

    fn word<T>(&self, of: impl Fn(&str) -> Option<T>) -> Result<T, Malformed> {
        of(self.text()?).ok_or(Malformed(self.name))
    }

    fn number(&self) -> Result<u64, Malformed> {
        match self.value() {
            Some(Value::IntValue(number)) => Ok(number.cast_unsigned()),
            _ => Err(Malformed(self.name)),
        }
    }

    fn small<T: TryFrom<u64>>(&self) -> Result<T, Malformed> {
        self.number()?.try_into().map_err(|_too_large| Malformed(self.name))
    }

    fn nanos(&self) -> Result<Duration, Malformed> {
        self.number().map(Duration::from_nanos)
    }

    fn flag(&self) -> Result<bool, Malformed> {
        match self.value() {
            Some(Value::BoolValue(flag)) => Ok(*flag),
            _ => Err(Malformed(self.name)),
        }
    }
}

fn observer(word: &str) -> Option<Observer> {
    [Observer::Client, Observer::Server].into_iter().find(|it| it.as_str() == word)
}

fn transport(word: &str) -> Option<Transport> {
    (word == Transport::Tcp.as_str()).then_some(Transport::Tcp)
}

fn begin(word: &str) -> Option<Begin> {
    match word {
        names::OPENED => Some(Begin::Opened),
        names::FOUND => Some(Begin::Found),
        _ => None,
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
