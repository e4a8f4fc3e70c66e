//! The policy, evaluated: what an honest runtime asks for, and what a host may try.

use regorus::{Engine, Value};
use serde_json::{Value as Json, json};

use super::{super::Container, container};

const SANDBOX: &str = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";
const CONTAINER: &str = "1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f";

fn allows(container: &Container, request: &Json) -> bool {
    let mut engine = Engine::new();
    engine.add_policy("policy.rego".to_owned(), container.policy().unwrap()).unwrap();
    let state = json!({"pstate": {"sandbox_id": SANDBOX}});
    engine.add_data(Value::from_json_str(&state.to_string()).unwrap()).unwrap();
    engine.set_input(Value::from_json_str(&request.to_string()).unwrap());
    engine.eval_rule("data.agent_policy.CreateContainerRequest".to_owned()).unwrap() == Value::from(true)
}

fn namespaces() -> Json {
    json!(["ipc", "uts", "mount", "pid"].map(|kind| json!({"Type": kind, "Path": ""})))
}

/// What a runtime asks for the pod of deploy/kubernetes.
fn request() -> Json {
    json!({
        "container_id": CONTAINER,
        "devices": [],
        "shared_mounts": [],
        "sandbox_pidns": false,
        "storages": [{
            "driver": "image_guest_pull",
            "source": container().image,
            "fstype": "overlay",
            "mount_point": format!("/run/kata-containers/{CONTAINER}/rootfs"),
            "options": [],
        }],
        "OCI": {
            "Annotations": {
                "io.kubernetes.cri.container-type": "container",
                "io.katacontainers.pkg.oci.container_type": "pod_container",
            },
            "Hooks": null,
            "Root": {"Path": format!("/run/kata-containers/{CONTAINER}/rootfs"), "Readonly": true},
            "Process": {
                "Args": container().words,
                "Env": ["PATH=/usr/bin", "PCCS_URL=http://pccs:8081", "HOSTNAME=tf-demo"],
                "Cwd": "/",
                "Terminal": false,
                "NoNewPrivileges": true,
                "User": {"UID": 65532, "GID": 65532, "AdditionalGids": [65532], "Username": ""},
                "Capabilities": {
                    "Bounding": [], "Effective": [], "Inheritable": [], "Permitted": [], "Ambient": [],
                },
            },
            "Mounts": [
                {"destination": "/proc", "type_": "proc", "source": "proc", "options": ["nosuid"]},
                {"destination": "/sys", "type_": "sysfs", "source": "sysfs", "options": ["ro"]},
            ],
            "Linux": {
                "Devices": [],
                "Sysctl": {},
                "Namespaces": namespaces(),
                "MaskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
                "ReadonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            },
        },
    })
}

/// The pause container that comes first.
fn pause() -> Json {
    let mut request = request();
    request["container_id"] = SANDBOX.into();
    request["storages"][0]["source"] = "pause".into();
    request["storages"][0]["mount_point"] = format!("/run/kata-containers/{SANDBOX}/rootfs").into();
    let oci = &mut request["OCI"];
    oci["Root"]["Path"] = format!("/run/kata-containers/{SANDBOX}/rootfs").into();
    oci["Annotations"] = json!({
        "io.kubernetes.cri.container-type": "sandbox",
        "io.katacontainers.pkg.oci.container_type": "pod_sandbox",
    });
    oci["Process"]["Args"] = json!(["/pause"]);
    oci["Process"]["Env"] = json!(["PATH=/usr/bin"]);
    oci["Process"]["User"] = json!({"UID": 65535, "GID": 65535, "AdditionalGids": [65535]});
    request
}

#[test]
fn what_an_honest_runtime_asks_for_is_allowed() {
    assert!(allows(&container(), &request()));
    assert!(allows(&container(), &pause()));
    // Empty values may be null, or left out.
    let mut spare = request();
    spare["OCI"]["Process"]["Capabilities"] = json!({"Bounding": null});
    spare["OCI"]["Process"]["User"] = json!({"UID": 65532, "GID": 65532});
    spare["OCI"]["Linux"]["Namespaces"] =
        json!(["ipc", "uts", "mount", "pid"].map(|kind| json!({"Type": kind})));
    assert!(allows(&container(), &spare));
}

#[test]
fn what_a_host_may_try_is_refused() {
    let attacks: [(&str, Json); 26] = [
        ("/OCI/Process/User/UID", json!(0)),
        ("/OCI/Process/User/GID", json!(0)),
        ("/OCI/Process/User/AdditionalGids", json!([65532, 0])),
        ("/OCI/Process/Capabilities/Bounding", json!(["CAP_SYS_ADMIN"])),
        ("/OCI/Process/Capabilities/Effective", json!(["CAP_CHOWN"])),
        ("/OCI/Process/Capabilities/Ambient", json!(["CAP_SYS_PTRACE"])),
        ("/OCI/Process/Cwd", json!("/proc/self")),
        ("/OCI/Process/NoNewPrivileges", json!(false)),
        ("/OCI/Process/NoNewPrivileges", Json::Null),
        ("/OCI/Process/Terminal", json!(true)),
        ("/OCI/Process/Args", json!(["/bin/sh"])),
        ("/OCI/Process/Env", json!(["LD_PRELOAD=/evil.so"])),
        ("/OCI/Root/Readonly", json!(false)),
        ("/OCI/Linux/Namespaces", json!([])),
        ("/OCI/Linux/Namespaces", json!([{"Type": "ipc"}, {"Type": "uts"}, {"Type": "mount"}])),
        ("/OCI/Linux/Namespaces/2/Path", json!("/proc/1/ns/mnt")),
        ("/OCI/Linux/Namespaces/3/Path", json!("/proc/1/ns/pid")),
        ("/OCI/Linux/Namespaces/0/Type", json!("user")),
        ("/OCI/Linux/MaskedPaths", json!([])),
        ("/OCI/Linux/MaskedPaths", Json::Null),
        ("/OCI/Linux/ReadonlyPaths", json!(["/proc/bus"])),
        ("/OCI/Linux/Sysctl", json!({"kernel.core_pattern": "|/evil"})),
        ("/OCI/Linux/Devices", json!([{"Path": "/dev/vda"}])),
        ("/sandbox_pidns", json!(true)),
        ("/storages/0/source", json!("demo/other@sha256:00")),
        ("/OCI/Root/Path", json!("/run/kata-containers/shared/containers/x/rootfs")),
    ];
    for (place, value) in attacks {
        let mut request = request();
        *request.pointer_mut(place).unwrap() = value.clone();
        assert!(!allows(&container(), &request), "{place} = {value} is allowed");
    }
}

#[test]
fn the_pause_container_is_confined_too() {
    let attacks: [(&str, Json); 6] = [
        ("/OCI/Process/User/UID", json!(0)),
        ("/OCI/Process/User/AdditionalGids", json!([0])),
        ("/OCI/Process/Capabilities/Bounding", json!(["CAP_SYS_ADMIN"])),
        ("/OCI/Process/Args", json!(["/pause", "--more"])),
        ("/OCI/Linux/Namespaces", json!([])),
        ("/container_id", json!(CONTAINER)),
    ];
    for (place, value) in attacks {
        let mut request = pause();
        *request.pointer_mut(place).unwrap() = value.clone();
        assert!(!allows(&container(), &request), "{place} = {value} is allowed");
    }
}

#[test]
fn what_the_owner_allows_is_allowed_to_that_container_only() {
    let mut other = container();
    other.user.user = 101;
    other.groups.insert(2000);
    other.capabilities.insert("CAP_NET_BIND_SERVICE".to_owned());
    other.directory = "/srv".to_owned();
    other.readonly_root = false;
    let mut request = request();
    request["OCI"]["Process"]["User"] = json!({"UID": 101, "GID": 65532, "AdditionalGids": [65532, 2000]});
    request["OCI"]["Process"]["Capabilities"]["Bounding"] = json!(["CAP_NET_BIND_SERVICE"]);
    request["OCI"]["Process"]["Cwd"] = "/srv".into();
    request["OCI"]["Root"]["Readonly"] = false.into();
    assert!(allows(&other, &request));
    assert!(!allows(&container(), &request));
}
