//! What the path of a cgroup tells of those in it, by the conventions of those who make cgroups.
//!
//! Paths are of cgroups version 2, from the root of the hierarchy, as the kernel itself names them: whatever the cgroup
//! namespace of who asks.

use std::fmt;

/// What runs in a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner<'a> {
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
pub fn owner(path: &str) -> Owner<'_> {
    let segments = || path.split('/').rev();
    if let Some(id) = segments().find_map(container_id) {
        return Owner::Container(id);
    }
    let is_unit = |it: &&str| it.len() > ".service".len() && it.ends_with(".service");
    let is_user_manager = |it: &&str| it.starts_with("user@");
    segments().filter(|it| !is_user_manager(it)).find(is_unit).map_or(Owner::Other, Owner::Unit)
}

/// The uid of a pod of Kubernetes as the kubelet writes it into the names of cgroups: 32 hexadecimal digits, whatever stands
/// between them.
///
/// For a pod that the API server knows these are the digits of its uid; for a static pod they are those of the annotation
/// `kubernetes.io/config.hash` of its mirror pod, whose own uid is another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid(u128);

impl Uid {
    /// Reads a uid; `None` if it is none that a kubelet writes.
    pub fn parse(text: &str) -> Option<Self> {
        const DIGITS: usize = 32;
        // What stands between the digits of a UUID is a dash, or, for systemd, an underline.
        let digits: String = text.chars().filter(|it| !matches!(it, '-' | '_')).take(DIGITS + 1).collect();
        if digits.len() != DIGITS || !digits.bytes().all(|it| it.is_ascii_hexdigit()) {
            return None;
        }
        u128::from_str_radix(&digits, 16).ok().map(Self)
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uid({self})")
    }
}

/// Writes it as the API server does.
impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(uid) = self;
        let part = |shift: u32, bits: u32| (uid >> shift) & ((1 << bits) - 1);
        let (a, b, c, d, e) = (part(96, 32), part(80, 16), part(64, 16), part(48, 16), part(0, 48));
        write!(f, "{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}")
    }
}

/// Returns the pod that a cgroup is of: the innermost, so that a pod inside a node that is itself a pod is itself.
pub fn pod(path: &str) -> Option<Uid> {
    path.split('/').rev().find_map(pod_uid)
}

fn pod_uid(segment: &str) -> Option<Uid> {
    // Where containerd and the kubelet do not agree on the driver, slice, prefix and container are one segment.
    let slice = segment.split(':').next()?;
    let name = slice.strip_suffix(".slice").unwrap_or(slice);
    // `pod<uid>`, or `kubepods-burstable-pod<uid>` as systemd wants slices inside of slices to be called.
    let (before, uid) = name.rsplit_once("pod")?;
    let is_pod = before.is_empty() || before.ends_with('-') && before.contains(KUBEPODS);
    if is_pod { Uid::parse(uid) } else { None }
}

/// What the kubelet calls the cgroup that holds all pods, alone or as a part: `kubepods.slice`, `kubelet-kubepods.slice`.
const KUBEPODS: &str = "kubepods";

/// Returns the cgroup that holds all that runs on the node whose pod a cgroup is of, if it is of a pod: several nodes on one
/// kernel, as those of kind and k3d, have one each; the only node of a machine has the root, which is empty.
///
/// The outermost pod decides: a node that is a container in a pod of another node is no node here.
pub fn node(path: &str) -> Option<&str> {
    let mut segments = path.split('/');
    let mut end = segments.next().map_or(0, str::len);
    for segment in segments {
        let slice = segment.split(':').next().unwrap_or_default();
        let name = slice.strip_suffix(".slice").unwrap_or(slice);
        if name == KUBEPODS || name.ends_with("-kubepods") || name.starts_with("kubepods-") {
            return Some(without_services(&path[..end]));
        }
        end += 1 + segment.len();
    }
    None
}

/// Returns the cgroup around the services that end a path: a kubelet that keeps its pods in its own unit, or in a slice of its
/// own, is not the node.
fn without_services(mut path: &str) -> &str {
    while let Some((outer, last)) = path.rsplit_once('/')
        && (last.ends_with(".service") || last.ends_with(".slice"))
    {
        path = outer;
    }
    path
}

/// Returns whether a cgroup is inside another, or is that itself.
pub fn is_inside(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|it| it.is_empty() || it.starts_with('/') || outer.is_empty())
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

    const UID: &str = "1a2b3c4d-0000-1111-2222-333344445555";

    #[test]
    fn pods_are_known_by_their_uids() {
        let systemd = UID.replace('-', "_");
        let static_pod = "5c8d9f0a1b2c3d4e5f60718293a4b5c6";
        for (path, uid) in [
            ("/kubepods/burstable/podUID/ID", UID),
            ("/kubepods/podUID/ID", UID),
            ("/kubepods/besteffort/podUID/crio-ID", UID),
            ("/kubepods/burstable/podSTATIC/ID", static_pod),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podSYSTEMD.slice/cri-containerd-ID.scope",
                UID,
            ),
            (
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podSYSTEMD.slice/crio-ID.scope/container",
                UID,
            ),
            ("/kubepods.slice/kubepods-podSYSTEMD.slice/docker-ID.scope", UID),
            ("/kubepods.slice/kubepods-podSTATIC.slice/cri-containerd-ID.scope", static_pod),
            ("/system.slice/containerd.service/kubepods-burstable-podSYSTEMD.slice:cri-containerd:ID", UID),
            ("/system.slice/k3s.service/kubepods/besteffort/podUID/ID", UID),
            (
                "/docker/OUTER/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-podSYSTEMD.slice/cri-containerd-ID.scope",
                UID,
            ),
            ("/kf/kn2/kubepods/burstable/podUID/ID", UID),
            // A node inside a pod of another.
            ("/kubepods/podffffffff-0000-1111-2222-333344445555/ID/kubepods/podUID/ID", UID),
            // The pod's own processes, such as its sandbox.
            ("/kubepods/burstable/podUID", UID),
        ] {
            let path = path
                .replace("SYSTEMD", &systemd)
                .replace("STATIC", static_pod)
                .replace("UID", UID)
                .replace("OUTER", OUTER)
                .replace("ID", ID);
            assert_eq!(pod(&path), Some(Uid::parse(uid).unwrap()), "{path}");
        }
    }

    #[test]
    fn what_is_not_in_a_pod_has_none() {
        for path in [
            "",
            "/",
            "/kubepods",
            "/kubepods/burstable",
            "/kubepods.slice/kubepods-besteffort.slice",
            "/system.slice/kubelet.service",
            "/system.slice/podman.service",
            "/machine.slice/libpod-ID.scope",
            "/user.slice/user-libpod_pod_5c8d9f0a1b2c3d4e5f60718293a4b5c6.slice",
            "/tripod1a2b3c4d-0000-1111-2222-333344445555",
            "/kubepods/pod1a2b3c4d-0000-1111-2222-33334444555",
            "/kubepods/pod1a2b3c4d-0000-1111-2222-3333444455556",
            "/kubepods/pod1a2b3c4d-0000-1111-2222-33334444555g",
        ] {
            assert_eq!(pod(&path.replace("ID", ID)), None, "{path}");
        }
    }

    #[test]
    fn a_uid_is_written_as_the_api_server_writes_it() {
        let uid = Uid::parse(&UID.replace('-', "_")).unwrap();
        assert_eq!(uid.to_string(), UID);
        assert_eq!(Uid::parse(&uid.to_string()), Some(uid));
    }

    #[test]
    fn a_node_is_what_its_pods_are_in() {
        for (path, expected) in [
            ("/kubepods/burstable/pod1/ID", Some("")),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-ID.scope",
                Some(""),
            ),
            ("/kf/kn2/kubepods/burstable/pod1/ID", Some("/kf/kn2")),
            (
                "/docker/OUTER/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod1.slice/cri-containerd-ID.scope",
                Some("/docker/OUTER"),
            ),
            (
                "/system.slice/docker-OUTER.scope/kubepods/besteffort/pod1/ID",
                Some("/system.slice/docker-OUTER.scope"),
            ),
            (
                "/machine.slice/libpod-OUTER.scope/container/kubelet.slice/kubelet-kubepods.slice/x",
                Some("/machine.slice/libpod-OUTER.scope/container"),
            ),
            // What runs the kubelet, or containerd, is a part of the node.
            ("/system.slice/k3s.service/kubepods/besteffort/pod1/ID", Some("")),
            ("/system.slice/containerd.service/kubepods-burstable-pod1.slice:cri-containerd:ID", Some("")),
            ("/docker/OUTER/system.slice/k3s.service/kubepods/pod1/ID", Some("/docker/OUTER")),
            // The outermost decides.
            ("/kubepods/pod1/ID/kubepods/pod2/ID", Some("")),
            ("/system.slice/ridley.service", None),
            ("/docker/ID", None),
            ("/", None),
            ("", None),
        ] {
            let path = path.replace("OUTER", OUTER).replace("ID", ID);
            let expected = expected.map(|it| it.replace("OUTER", OUTER));
            assert_eq!(node(&path), expected.as_deref(), "{path}");
        }
    }

    #[test]
    fn inside_is_by_whole_names() {
        for (path, outer, expected) in [
            ("/kf/kn1/kubepods/pod1", "/kf/kn1", true),
            ("/kf/kn1", "/kf/kn1", true),
            ("/kf/kn10/kubepods/pod1", "/kf/kn1", false),
            ("/kf", "/kf/kn1", false),
            ("/system.slice/ssh.service", "", true),
            ("/", "", true),
        ] {
            assert_eq!(is_inside(path, outer), expected, "{path} in {outer}");
        }
    }

    proptest! {
        /// Whatever a path is, its node is a part of it from the root on, and it is inside of that.
        #[test]
        fn a_path_is_inside_its_node(parts in prop::collection::vec(prop_oneof![
            "[a-z/.:-]{0,8}",
            prop::sample::select(vec!["/kubepods", ".slice", "/kubelet-kubepods", "/kn1", ".service", "/"]).prop_map(str::to_owned),
        ], 0..8)) {
            let path = parts.concat();
            if let Some(node) = node(&path) {
                prop_assert!(is_inside(&path, node), "{path} in {node}");
            }
        }

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
