use std::sync::Arc;

use model::cgroup;

/// Which cgroups are observed.
///
/// Nodes of Kubernetes that share one kernel, as those of kind and k3d do, each have a part of the tree of cgroups. An agent on
/// each sees the sockets of all: every connection must be one agent's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All there are.
    Machine,
    /// Those inside of this one, which holds a node.
    Node(Arc<str>),
}

impl Scope {
    /// Returns the scope of an agent that runs in a cgroup: its node, if that shares the kernel with others.
    pub(crate) fn of_agent(path: &str) -> Self {
        match cgroup::node(path) {
            None | Some("") => Self::Machine,
            Some(node) => Self::Node(node.into()),
        }
    }

    /// Returns whether who runs in a cgroup is observed. Of whom the cgroup is not known that cannot be said, and then no
    /// agent but one that observes the machine does.
    pub(crate) fn includes(&self, path: Option<&str>) -> bool {
        match self {
            Self::Machine => true,
            Self::Node(node) => path.is_some_and(|it| cgroup::is_inside(it, node)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_shares_a_kernel_observes_its_node_alone() {
        let scope = Scope::of_agent("/kf/kn1/kubepods/besteffort/pod1/c1");
        assert_eq!(scope, Scope::Node("/kf/kn1".into()));
        let seen =
            ["/kf/kn1/kubepods/pod2/c2", "/kf/kn1/sys", "/kf/kn2/kubepods/pod3/c3", "/kf/kn10/sys", "/"]
                .map(|it| scope.includes(Some(it)));
        assert_eq!(seen, [true, true, false, false, false]);
        assert!(!scope.includes(None));
    }

    #[test]
    fn who_has_a_machine_observes_all_of_it() {
        for path in ["/kubepods/besteffort/pod1/c1", "/system.slice/ridley.service", "/docker/c1", "/"] {
            let scope = Scope::of_agent(path);
            assert_eq!(scope, Scope::Machine, "{path}");
            assert!(scope.includes(Some("/system.slice/ssh.service")) && scope.includes(None));
        }
    }
}
