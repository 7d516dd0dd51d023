use std::{convert::Infallible, net::IpAddr, sync::Arc};

use model::{
    Attribute, Entity, EntityCache, FixedNames, Flow, Listener, Local, Names, Observer,
    cgroup::{self, Owner},
    kind,
};

use crate::{Config, listening::Listening, services::Services};

/// Digits of a container's id that tools show.
const SHORT_ID: usize = 12;

/// Name of an end of which the kernel told nothing.
const UNKNOWN: &str = "unknown";

/// Gives both ends of a record their names, and each connection the same names until its end.
#[derive(Debug)]
pub struct Naming {
    ends: Ends,
    connections: FixedNames,
}

/// Names of ends, by what is known of them.
#[derive(Debug)]
struct Ends {
    services: Services,
    local: EntityCache<LocalKey>,
    external: EntityCache<ExternalKey>,
    listening: Listening,
}

/// Everything that the name of the observer's own end depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct LocalKey {
    cgroup: Option<Arc<str>>,
    command: Option<Arc<str>>,
    service: Option<Arc<str>>,
}

/// Everything that the name of the other end depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ExternalKey {
    address: IpAddr,
    service: Option<Arc<str>>,
}

impl Naming {
    /// Creates a naming that remembers nothing yet.
    pub fn new(config: &Config) -> Self {
        let Config { services, max_connections, max_entities } = config;
        let ends = Ends {
            services: Services::new(services),
            local: EntityCache::new(*max_entities),
            external: EntityCache::new(*max_entities),
            listening: Listening::default(),
        };
        Self { ends, connections: FixedNames::new(max_connections.get()) }
    }

    /// Names the ends that have no name yet: by what was said when the connection was first seen, if it is remembered.
    pub fn name(&mut self, flow: &mut Flow) {
        let Self { ends, connections } = self;
        let Ok(()) = connections.name(flow, |flow| Ok::<_, Infallible>(ends.names_of(flow)));
    }

    /// Names whose a listening socket is, if it has no name yet: as its connections' server is named.
    pub fn name_listener(&mut self, listener: &mut Listener) {
        if listener.server.entity.is_none() {
            let service = self.ends.services.name(listener.server.port).cloned();
            listener.server.entity = Some(self.ends.local_entity(&listener.local, service));
        }
        self.ends.listening.note(listener);
    }

    /// Returns how many connections' names are remembered.
    pub fn n_connections(&self) -> usize {
        self.connections.len()
    }

    pub(crate) fn n_entities(&self) -> usize {
        self.ends.local.len() + self.ends.external.len()
    }

    /// Returns how many connections were forgotten before their end since the last call.
    pub(crate) fn take_forgotten(&mut self) -> u64 {
        self.connections.take_forgotten()
    }
}

impl Ends {
    fn names_of(&mut self, flow: &Flow) -> Names {
        // What is offered at the server's port says nothing about the client.
        let service = self.services.name(flow.server.port).cloned();
        match flow.observer {
            Observer::Client => Names {
                client: self.local_entity(&flow.local, None),
                server: match self.listening.behind(flow) {
                    Some(server) => server,
                    None => self.external_entity(flow.server.address, service),
                },
            },
            Observer::Server => Names {
                client: self.external_entity(flow.client.address, None),
                server: self.local_entity(&flow.local, service),
            },
        }
    }

    fn local_entity(&mut self, local: &Local, service: Option<Arc<str>>) -> Arc<Entity> {
        let Local { cgroup, netns: _, process } = local;
        // A process may call itself nothing.
        let command = process.as_ref().map(|it| it.command.clone()).filter(|it| !it.is_empty());
        let key = LocalKey { cgroup: cgroup.clone(), command, service };
        self.local.get(key, LocalKey::entity)
    }

    fn external_entity(&mut self, address: IpAddr, service: Option<Arc<str>>) -> Arc<Entity> {
        self.external.get(ExternalKey { address, service }, ExternalKey::entity)
    }
}

impl LocalKey {
    fn entity(&self) -> Entity {
        let Self { cgroup, command, service } = self;
        let mut entity = match cgroup.as_deref().map_or(Owner::Other, cgroup::owner) {
            Owner::Container(id) => {
                let short = Arc::<str>::from(id.get(..SHORT_ID).unwrap_or(id));
                let name = command.clone().unwrap_or_else(|| Arc::clone(&short));
                let mut entity = Entity::new(name, kind::CONTAINER);
                entity.namespace = Some(short);
                entity.set_attribute(Attribute::Container, id);
                entity
            }
            Owner::Unit(name) => Entity::new(name, kind::UNIT),
            Owner::Other => Entity::new(command.clone().unwrap_or_else(|| UNKNOWN.into()), kind::PROCESS),
        };
        if let Some(command) = command {
            entity.set_attribute(Attribute::Process, Arc::clone(command));
        }
        with_service(entity, service.as_ref())
    }
}

impl ExternalKey {
    fn entity(&self) -> Entity {
        let Self { address, service } = self;
        with_service(Entity::new(address.to_string(), kind::EXTERNAL), service.as_ref())
    }
}

fn with_service(mut entity: Entity, service: Option<&Arc<str>>) -> Entity {
    if let Some(service) = service {
        entity.set_attribute(Attribute::Service, Arc::clone(service));
    }
    entity
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use component_test::{FlowBuilder, flow, listener};
    use model::{CloseReason, FailureReason};

    use super::*;

    const ID: &str = "2b1f7c3a9d0e4f5866778899aabbccddeeff00112233445566778899aabbccdd";

    #[test]
    fn a_process_is_named_by_its_command() {
        let curl = entity("curl", kind::PROCESS, &[(Attribute::Process, "curl")]);
        check(flow().process(7, "curl"), &curl, &http("10.0.0.2"));
    }

    #[test]
    fn a_service_is_named_by_its_unit() {
        let attributes = [(Attribute::Process, "nginx"), (Attribute::Service, "http")];
        let nginx = entity("nginx.service", kind::UNIT, &attributes);
        let seen =
            flow().observer(Observer::Server).process(7, "nginx").cgroup("/system.slice/nginx.service");
        check(seen, &external("10.0.0.1"), &nginx);
    }

    /// The command is the name, as one reads it; the container tells equal commands apart.
    #[test]
    fn a_container_is_the_namespace_of_its_processes() {
        let container = format!("/docker/{ID}");
        let attributes = [(Attribute::Process, "redis"), (Attribute::Container, ID)];
        let mut redis = entity("redis", kind::CONTAINER, &attributes);
        redis.namespace = Some("2b1f7c3a9d0e".into());
        check(flow().process(7, "redis").cgroup(&container), &redis, &http("10.0.0.2"));

        let mut nameless = entity("2b1f7c3a9d0e", kind::CONTAINER, &[(Attribute::Container, ID)]);
        nameless.namespace = Some("2b1f7c3a9d0e".into());
        check(flow().cgroup(&container), &nameless, &http("10.0.0.2"));
    }

    #[test]
    fn an_end_of_which_nothing_is_known_is_unknown() {
        let unknown = entity("unknown", kind::PROCESS, &[]);
        check(flow(), &unknown, &http("10.0.0.2"));
        check(flow().process(7, ""), &unknown, &http("10.0.0.2"));
        check(flow().cgroup("/"), &unknown, &http("10.0.0.2"));
    }

    #[test]
    fn a_unit_without_a_known_process_is_still_the_unit() {
        check(
            flow().cgroup("/system.slice/cron.service"),
            &entity("cron.service", kind::UNIT, &[]),
            &http("10.0.0.2"),
        );
    }

    /// The client's port says nothing about a service, whatever its number.
    #[test]
    fn only_the_servers_port_names_a_service() {
        let seen = flow().observer(Observer::Server).client("[fd00::1]:443").server("[fd00::2]:40000");
        check(seen, &external("fd00::1"), &entity("unknown", kind::PROCESS, &[]));
    }

    /// Whoever named an end before, on this host or where the records were made, knew better.
    #[test]
    fn names_that_are_there_stay() {
        let known = entity("shop", "Deployment", &[]);
        check(flow().server_entity(known.clone()), &entity("unknown", kind::PROCESS, &[]), &known);
    }

    /// Bytes must not move to another link because the process turned into another program.
    #[test]
    fn names_stay_until_the_connection_ends() {
        let mut naming = naming(10);
        let name_of = |naming: &mut Naming, flow: FlowBuilder| {
            let mut flow = flow.build();
            naming.name(&mut flow);
            flow.client.entity.unwrap().name.to_string()
        };
        assert_eq!(name_of(&mut naming, flow().opened(1).process(7, "sh")), "sh");
        assert_eq!(name_of(&mut naming, flow().process(7, "curl")), "sh");
        assert_eq!(name_of(&mut naming, flow()), "sh");
        assert_eq!(name_of(&mut naming, flow().process(7, "curl").closed(CloseReason::Normal)), "sh");
        assert_eq!(naming.n_connections(), 0);
        assert_eq!(name_of(&mut naming, flow().opened(1).process(7, "curl")), "curl");
    }

    /// The name must be the one under which the connections that it accepts are counted.
    #[test]
    fn a_listening_socket_is_named_like_the_server_of_its_connections() {
        let mut naming = naming(10);
        let mut flow = flow().observer(Observer::Server).process(8, "nginx").build();
        naming.name(&mut flow);
        let mut listener = Listener { local: flow.local.clone(), ..listener() };
        naming.name_listener(&mut listener);
        assert_eq!(listener.server.entity, flow.server.entity);
        let known: Arc<Entity> = entity("shop", "Deployment", &[]).into();
        listener.server.entity = Some(Arc::clone(&known));
        naming.name_listener(&mut listener);
        assert_eq!(listener.server.entity, Some(known));
    }

    /// The server's end may open long after the client's, or not at all.
    #[test]
    fn who_connects_to_its_own_host_connects_to_whoever_listens_there() {
        let mut naming = naming(10);
        let local = flow().process(8, "nginx").build().local;
        let mut listening = Listener { local, ..listener() };
        naming.name_listener(&mut listening);
        let mut server_of = |seen: FlowBuilder, listens: bool| {
            let mut listening = listening.clone();
            listening.queue_limit *= u32::from(listens);
            naming.name_listener(&mut listening);
            let mut seen = seen.no_id().build();
            naming.name(&mut seen);
            seen.server.entity.unwrap().name.to_string()
        };
        let to = |server: &str| flow().client("127.0.0.1:40000").server(server);
        assert_eq!(server_of(to("127.0.0.1:80"), true), "nginx");
        assert_eq!(server_of(to("127.0.0.1:81"), true), "127.0.0.1");
        assert_eq!(server_of(to("10.0.0.2:80"), true), "10.0.0.2");
        assert_eq!(server_of(to("127.0.0.1:80"), false), "127.0.0.1", "it listens no more");
    }

    /// The two observers of one connection see different ends as their own.
    #[test]
    fn the_observers_of_a_connection_are_kept_apart() {
        let mut naming = naming(10);
        let mut client = flow().process(7, "curl").build();
        let mut server = flow().observer(Observer::Server).process(8, "nginx").build();
        naming.name(&mut client);
        naming.name(&mut server);
        let name = |entity: Option<Arc<Entity>>| entity.unwrap().name.to_string();
        assert_eq!(
            (name(client.client.entity), name(client.server.entity)),
            ("curl".into(), "10.0.0.2".into())
        );
        assert_eq!(
            (name(server.client.entity), name(server.server.entity)),
            ("10.0.0.1".into(), "nginx".into())
        );
    }

    #[test]
    fn connections_of_one_record_leave_nothing_behind() {
        let mut naming = naming(10);
        naming.name(&mut flow().failed(FailureReason::Refused).build());
        naming.name(&mut flow().opened(1).closed(CloseReason::Normal).build());
        assert_eq!(naming.n_connections(), 0);
    }

    #[test]
    fn a_full_memory_forgets_the_oldest_and_says_so() {
        let mut naming = naming(2);
        for n in 0..5 {
            naming.name(&mut flow().id(n).build());
        }
        assert_eq!((naming.n_connections(), naming.take_forgotten(), naming.take_forgotten()), (2, 3, 0));
    }

    #[test]
    fn equal_names_are_one_copy() {
        let mut naming = naming(10);
        let [mut first, mut second] = [1, 2].map(|n| flow().id(n).process(7, "curl").build());
        naming.name(&mut first);
        naming.name(&mut second);
        assert!(Arc::ptr_eq(&first.client.entity.unwrap(), &second.client.entity.unwrap()));
        assert!(Arc::ptr_eq(&first.server.entity.unwrap(), &second.server.entity.unwrap()));
    }

    fn naming(max_connections: usize) -> Naming {
        let max_connections = NonZeroUsize::new(max_connections).unwrap();
        Naming::new(&Config { max_connections, ..Config::default() })
    }

    fn entity(name: &str, kind: &str, attributes: &[(Attribute, &str)]) -> Entity {
        let mut entity = Entity::new(name, kind);
        for (attribute, value) in attributes {
            entity.set_attribute(attribute.clone(), *value);
        }
        entity
    }

    fn external(address: &str) -> Entity {
        entity(address, kind::EXTERNAL, &[])
    }

    fn http(address: &str) -> Entity {
        entity(address, kind::EXTERNAL, &[(Attribute::Service, "http")])
    }

    #[track_caller]
    fn check(flow: FlowBuilder, client: &Entity, server: &Entity) {
        let mut flow = flow.build();
        naming(10).name(&mut flow);
        assert_eq!(flow.client.entity.as_deref(), Some(client));
        assert_eq!(flow.server.entity.as_deref(), Some(server));
    }
}
