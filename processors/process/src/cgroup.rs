/// What runs in a cgroup, by the conventions of those who make cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner<'a> {
    /// A container, by its id.
    Container(&'a str),
    /// A systemd service unit, by its name.
    Unit(&'a str),
    /// Something else: a login session, an application scope, the root.
    Other,
}

/// Reads the owner off a cgroup's path.
///
/// The innermost container wins, so that a container inside a container (a node of kind) is itself; else the innermost
/// service unit. Services that manage a user's session are not what runs in it.
pub(crate) fn owner(path: &str) -> Owner<'_> {
    let segments = || path.split('/').rev();
    if let Some(id) = segments().find_map(container_id) {
        return Owner::Container(id);
    }
    let is_unit = |it: &&str| it.len() > ".service".len() && it.ends_with(".service");
    let is_user_manager = |it: &&str| it.starts_with("user@");
    segments().filter(|it| !is_user_manager(it)).find(is_unit).map_or(Owner::Other, Owner::Unit)
}

/// Returns the container's id if a segment of a path is a container's.
fn container_id(segment: &str) -> Option<&str> {
    let name = segment.strip_suffix(".scope").unwrap_or(segment);
    // LXC names its containers; `lxc.monitor.NAME` is the process that watches one.
    if let Some(name) = name.strip_prefix("lxc.payload.").filter(|it| !it.is_empty()) {
        return Some(name);
    }
    // `libpod-conmon-ID` and `crio-conmon-ID` hold the process that watches the container.
    if name.contains("conmon") {
        return None;
    }
    // Amazon's agent: 32 digits of the task, a dash, and a number.
    let is_hex = |text: &str, len| text.len() == len && text.bytes().all(|it| it.is_ascii_hexdigit());
    if let Some((task, number)) = name.split_once('-')
        && is_hex(task, 32)
        && !number.is_empty()
        && number.bytes().all(|it| it.is_ascii_digit())
    {
        return Some(name);
    }
    // `ID`, `docker-ID`, `cri-containerd-ID`, `slice:cri-containerd:ID`: whoever made it, the id is 64 digits.
    let id = name.rsplit(['-', ':']).next()?;
    is_hex(id, 64).then_some(id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "2b1f7c3a9d0e4f5866778899aabbccddeeff00112233445566778899aabbccdd";
    const OUTER: &str = "f00dfeedcafe0123456789abcdef0123456789abcdef0123456789abcdef0123";

    /// `ID` and `OUTER` stand for ids of 64 digits.
    #[test]
    fn containers_are_known_by_their_ids() {
        for path in [
            // Docker, with the systemd and the cgroupfs driver, rootless, and in swarm.
            "/system.slice/docker-ID.scope",
            "/docker/ID",
            "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope",
            "/docker/ID/init",
            // Podman: root, rootless, by a unit of quadlet, with a cgroup of the payload's own.
            "/machine.slice/libpod-ID.scope",
            "/machine.slice/libpod-ID.scope/container",
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
            "/user.slice/user-1000.slice/user@1000.service/user.slice/user-libpod_pod_0123abcd.slice/libpod-ID.scope",
            "/system.slice/web.service/libpod-payload-ID",
            // nerdctl.
            "/system.slice/nerdctl-ID.scope",
            "/user.slice/user-1000.slice/user@1000.service/user.slice/nerdctl-ID.scope",
            // Kubernetes: containerd and CRI-O, systemd and cgroupfs, all classes of service.
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1a2b3c4d_0000_1111_2222_333344445555.slice/cri-containerd-ID.scope",
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1a2b3c4d_0000_1111_2222_333344445555.slice/crio-ID.scope",
            "/kubepods.slice/kubepods-pod1a2b3c4d_0000_1111_2222_333344445555.slice/cri-containerd-ID.scope",
            "/kubepods/burstable/pod1a2b3c4d-0000-1111-2222-333344445555/ID",
            "/kubepods/pod1a2b3c4d-0000-1111-2222-333344445555/ID",
            "/kubepods/besteffort/pod1a2b3c4d-0000-1111-2222-333344445555/crio-ID",
            "/kubepods.slice/kubepods-pod1a2b3c4d_0000_1111_2222_333344445555.slice/docker-ID.scope",
            // containerd with a cgroup driver other than the kubelet's.
            "/system.slice/containerd.service/kubepods-burstable-pod1a2b3c4d.slice:cri-containerd:ID",
            // k3s, whose containerd runs inside its own unit.
            "/system.slice/k3s.service/kubepods/besteffort/pod1a2b3c4d-0000-1111-2222-333344445555/ID",
            // kind and k3d: a node that is a container, and a pod inside it.
            "/docker/OUTER/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod1a2b.slice/cri-containerd-ID.scope",
            "/system.slice/docker-OUTER.scope/kubepods/besteffort/pod1a2b3c4d-0000-1111-2222-333344445555/ID",
            "/machine.slice/libpod-OUTER.scope/container/kubelet.slice/kubelet-kubepods.slice/cri-containerd-ID.scope",
            // systemd inside a container.
            "/docker/ID/system.slice/nginx.service",
            "/system.slice/docker-ID.scope/system.slice/kubelet.service",
            // GitHub's runners, and others that only choose the folder.
            "/actions_job/ID",
            "/ecs/0123456789abcdef/ID",
            "/k8s.io/ID",
        ] {
            let path = path.replace("OUTER", OUTER).replace("ID", ID);
            check(&path, Owner::Container(ID));
        }
    }

    #[test]
    fn containers_of_other_makers_are_known_by_their_names() {
        check("/lxc.payload.web", Owner::Container("web"));
        check("/lxc.payload.web/system.slice/nginx.service", Owner::Container("web"));
        check(
            "/ecs/cluster/0123456789abcdef0123456789abcdef/0123456789abcdef0123456789abcdef-1234567890",
            Owner::Container("0123456789abcdef0123456789abcdef-1234567890"),
        );
    }

    #[test]
    fn services_are_known_by_their_units() {
        for (path, unit) in [
            ("/system.slice/nginx.service", "nginx.service"),
            ("/system.slice/ssh.service", "ssh.service"),
            ("/system.slice/docker.service", "docker.service"),
            ("/system.slice/k3s.service", "k3s.service"),
            (
                "/system.slice/system-postgresql.slice/postgresql@16-main.service",
                "postgresql@16-main.service",
            ),
            ("/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service"),
            (
                "/system.slice/system-openvpn\\x2dclient.slice/openvpn-client@hq.service",
                "openvpn-client@hq.service",
            ),
            // A unit that was given control of its subtree.
            ("/system.slice/buildkitd.service/payload/worker", "buildkitd.service"),
            ("/machine.slice/systemd-nspawn@web.service/payload", "systemd-nspawn@web.service"),
            ("/system.slice/libvirtd.service/worker", "libvirtd.service"),
            // A user's own services.
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/syncthing.service",
                "syncthing.service",
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/session.slice/org.gnome.Shell@wayland.service",
                "org.gnome.Shell@wayland.service",
            ),
            ("/nomad.slice/nomad.service", "nomad.service"),
            ("/runsvc.slice/run-u123.service", "run-u123.service"),
        ] {
            check(path, Owner::Unit(unit));
        }
    }

    /// There the command says more than the cgroup.
    #[test]
    fn sessions_scopes_and_the_root_have_no_owner() {
        for path in [
            "",
            "/",
            "/init.scope",
            "/user.slice/user-1000.slice/session-3.scope",
            "/user.slice/user-1000.slice/user@1000.service/init.scope",
            "/user.slice/user-1000.slice/user@1000.service",
            "/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-firefox-4242.scope",
            "/user.slice/user-1000.slice/user@1000.service/tmux-spawn-1a2b3c4d-0000-1111-2222-333344445555.scope",
            "/machine.slice/machine-qemu\\x2d1\\x2dvm.scope/libvirt/emulator",
            "/lxc.monitor.web",
            "/lxc.payload.",
            "/system.slice/.service",
            "/kubepods.slice/kubepods-besteffort.slice",
            "/system.slice/run-r0123456789abcdef0123456789abcdef.scope",
        ] {
            check(path, Owner::Other);
        }
    }

    /// The watcher of a container is a process of the host, which lives in a scope or a unit of the host.
    #[test]
    fn a_containers_watcher_is_not_the_container() {
        check(&format!("/machine.slice/libpod-conmon-{ID}.scope"), Owner::Other);
        check(&format!("/machine.slice/crio-conmon-{ID}.scope"), Owner::Other);
        check("/system.slice/web.service/runtime", Owner::Unit("web.service"));
    }

    #[test]
    fn almost_an_id_is_no_container() {
        check(&format!("/docker/{}", &ID[1..]), Owner::Other);
        check(&format!("/docker/{ID}0"), Owner::Other);
        check(&format!("/docker/{}g", &ID[1..]), Owner::Other);
    }

    proptest! {
        /// Paths come from whoever may make cgroups: whatever one is, an owner is a part of it, and not an empty one.
        #[test]
        fn an_owner_is_a_part_of_the_path(
            parts in prop::collection::vec(
                prop_oneof![
                    "\\PC{0,12}",
                    Just(ID.to_owned()),
                    prop::sample::select(vec!["docker-", ".scope", ".service", "lxc.payload.", "user@", "-", ":", "/"])
                        .prop_map(str::to_owned),
                ],
                0..8,
            ),
        ) {
            let path = parts.concat();
            match owner(&path) {
                Owner::Container(part) | Owner::Unit(part) => {
                    prop_assert!(!part.is_empty() && path.split('/').any(|it| it.contains(part)), "{part}");
                }
                Owner::Other => {}
            }
        }
    }

    #[track_caller]
    fn check(path: &str, expected: Owner<'_>) {
        assert_eq!(owner(path), expected, "{path}");
    }
}
