//! What the programs of a node are told.

use std::path::Path;

use serde_json::{Value, json};

pub(super) fn containerd(programs: &Path, networks: &Path, pause_image: &str) -> String {
    let (programs, networks) = (programs.display(), networks.display());
    format!(
        "\
version = 3
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = 'docker.io/library/{pause_image}'
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
disable_apparmor = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['{programs}/cni']
conf_dir = '{networks}'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = '{programs}/runc'
SystemdCgroup = false
"
    )
}

pub(super) fn kubelet(control_group: &str) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        // Nobody else is in the nodes' network.
        "authentication": { "anonymous": { "enabled": true }, "webhook": { "enabled": false } },
        "authorization": { "mode": "AlwaysAllow" },
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": control_group,
        "failCgroupV1": false,
        "enforceNodeAllocatable": [],
        "failSwapOn": false,
        "oomScoreAdj": 0,
        "makeIPTablesUtilChains": false,
        "evictionHard": {
            "memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%",
            "imagefs.available": "0%", "imagefs.inodesFree": "0%", "pid.available": "0%",
        },
        "imageGCHighThresholdPercent": 100,
        "resolvConf": "",
        "nodeStatusUpdateFrequency": "5s",
    })
}

pub(super) fn kube_proxy(node: &str, kubeconfig: &Path) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": { "kubeconfig": kubeconfig },
        "hostnameOverride": node,
        "mode": "nftables",
        "clusterCIDR": "10.244.0.0/16",
        "oomScoreAdj": 0,
        // These are of the whole machine.
        "conntrack": { "maxPerCore": 0, "min": 0, "tcpCloseWaitTimeout": "0s", "tcpEstablishedTimeout": "0s" },
    })
}

pub(super) fn pod_network(pods: &str) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge", "bridge": "pods", "isGateway": true, "isDefaultGateway": true, "hairpinMode": true,
                "ipMasq": false, "ipam": { "type": "host-local", "ranges": [[{ "subnet": pods }]] },
            },
            { "type": "portmap", "backend": "nftables", "capabilities": { "portMappings": true } },
        ],
    })
}
