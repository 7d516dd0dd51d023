use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::Port;

/// Names of TCP services by port, sorted by port.
///
/// The names are those of the IANA registry where what is registered is what one finds at the port today, else those of
/// the project that made the port its own. Ports that mean many things (3000, 8000, 9000, 9090, 9100) are left out: a
/// wrong name is worse than a number.
const WELL_KNOWN: &[(u16, &str)] = &[
    (7, "echo"),
    (9, "discard"),
    (13, "daytime"),
    (20, "ftp-data"),
    (21, "ftp"),
    (22, "ssh"),
    (23, "telnet"),
    (25, "smtp"),
    (37, "time"),
    (43, "whois"),
    (49, "tacacs"),
    (53, "domain"),
    (70, "gopher"),
    (79, "finger"),
    (80, "http"),
    (88, "kerberos"),
    (102, "iso-tsap"),
    (104, "acr-nema"),
    (110, "pop3"),
    (111, "sunrpc"),
    (113, "auth"),
    (119, "nntp"),
    (135, "epmap"),
    (139, "netbios-ssn"),
    (143, "imap"),
    (179, "bgp"),
    (389, "ldap"),
    (443, "https"),
    (445, "microsoft-ds"),
    (464, "kpasswd"),
    (465, "submissions"),
    (502, "mbap"),
    (514, "syslog"),
    (515, "printer"),
    (543, "klogin"),
    (544, "kshell"),
    (548, "afpovertcp"),
    (554, "rtsp"),
    (563, "nntps"),
    (587, "submission"),
    (631, "ipp"),
    (636, "ldaps"),
    (646, "ldp"),
    (749, "kerberos-adm"),
    (853, "domain-s"),
    (860, "iscsi"),
    (873, "rsync"),
    (989, "ftps-data"),
    (990, "ftps"),
    (992, "telnets"),
    (993, "imaps"),
    (995, "pop3s"),
    (1080, "socks"),
    (1099, "rmiregistry"),
    (1194, "openvpn"),
    (1433, "ms-sql-s"),
    (1521, "oracle"),
    (1723, "pptp"),
    (1883, "mqtt"),
    (2049, "nfs"),
    (2181, "zookeeper"),
    (2375, "docker"),
    (2376, "docker-s"),
    (2377, "swarm"),
    (2379, "etcd-client"),
    (2380, "etcd-server"),
    (2947, "gpsd"),
    (3050, "firebird"),
    (3128, "squid"),
    (3205, "isns"),
    (3260, "iscsi-target"),
    (3268, "msft-gc"),
    (3269, "msft-gc-ssl"),
    (3306, "mysql"),
    (3389, "ms-wbt-server"),
    (3493, "nut"),
    (3632, "distcc"),
    (3690, "svn"),
    (4190, "sieve"),
    (4222, "nats"),
    (4317, "otlp-grpc"),
    (4318, "otlp-http"),
    (4369, "epmd"),
    (4460, "ntske"),
    (4505, "salt-publish"),
    (4506, "salt-request"),
    (4840, "opcua-tcp"),
    (5044, "beats"),
    (5060, "sip"),
    (5061, "sips"),
    (5222, "xmpp-client"),
    (5269, "xmpp-server"),
    (5432, "postgresql"),
    (5666, "nrpe"),
    (5671, "amqps"),
    (5672, "amqp"),
    (5900, "rfb"),
    (5984, "couchdb"),
    (5985, "wsman"),
    (5986, "wsmans"),
    (6000, "x11"),
    (6379, "redis"),
    (6432, "pgbouncer"),
    (6443, "kube-apiserver"),
    (6514, "syslog-tls"),
    (6566, "sane-port"),
    (6667, "ircd"),
    (6697, "ircs-u"),
    (7687, "bolt"),
    (8080, "http-alt"),
    (8086, "influxdb"),
    (8123, "clickhouse-http"),
    (8140, "puppet"),
    (8200, "vault"),
    (8300, "consul-server"),
    (8301, "consul-serf"),
    (8428, "victoria-metrics"),
    (8443, "https-alt"),
    (8500, "consul-http"),
    (8883, "secure-mqtt"),
    (9042, "cassandra"),
    (9092, "kafka"),
    (9093, "alertmanager"),
    (9200, "elasticsearch"),
    (9300, "elasticsearch-nodes"),
    (9411, "zipkin"),
    (9418, "git"),
    (9464, "otel-prometheus"),
    (10050, "zabbix-agent"),
    (10051, "zabbix-trapper"),
    (10249, "kube-proxy"),
    (10250, "kubelet"),
    (10256, "kube-proxy-health"),
    (10257, "kube-controllers"),
    (10259, "kube-scheduler"),
    (10809, "nbd"),
    (11211, "memcached"),
    (11371, "hkp"),
    (15672, "rabbitmq-http"),
    (22000, "syncthing"),
    (25565, "minecraft"),
    (25672, "rabbitmq-nodes"),
    (26257, "cockroachdb"),
    (27017, "mongodb"),
];

/// Knows what is offered at a port.
#[derive(Debug)]
pub(crate) struct Services {
    names: HashMap<u16, Arc<str>>,
}

impl Services {
    /// Takes the built-in names, with those of the configuration before them.
    pub(crate) fn new(configured: &BTreeMap<Port, String>) -> Self {
        let mut names: HashMap<_, _> =
            WELL_KNOWN.iter().map(|(port, name)| (*port, Arc::from(*name))).collect();
        for (port, name) in configured {
            if name.is_empty() {
                names.remove(&port.0);
            } else {
                names.insert(port.0, name.as_str().into());
            }
        }
        Self { names }
    }

    /// Returns the name of what is offered at the port, if it has one.
    pub(crate) fn name(&self, port: u16) -> Option<&Arc<str>> {
        self.names.get(&port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_ports_have_names() {
        check(&[], &[(443, Some("https")), (6379, Some("redis")), (40_000, None), (0, None)]);
    }

    #[test]
    fn the_configuration_comes_first() {
        check(
            &[(8_443, "shop"), (40_000, "game"), (8_080, "")],
            &[(8_443, Some("shop")), (40_000, Some("game")), (8_080, None), (443, Some("https"))],
        );
    }

    /// A port twice would give it the name that happens to come last.
    #[test]
    fn the_table_names_each_port_once_and_in_order() {
        assert!(WELL_KNOWN.is_sorted_by(|a, b| a.0 < b.0));
    }

    /// They become labels and columns of a table.
    #[test]
    fn names_are_short_words() {
        for (port, name) in WELL_KNOWN {
            let is_word = name.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-');
            assert!(is_word && (1..=20).contains(&name.len()), "{port}: {name}");
        }
    }

    #[track_caller]
    fn check(configured: &[(u16, &str)], expected: &[(u16, Option<&str>)]) {
        let configured = configured.iter().map(|(port, name)| (Port(*port), (*name).to_owned())).collect();
        let services = Services::new(&configured);
        for (port, name) in expected {
            assert_eq!(services.name(*port).map(|it| &**it), *name, "{port}");
        }
    }
}
