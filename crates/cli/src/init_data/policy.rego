package agent_policy

import future.keywords.every
import future.keywords.if
import future.keywords.in

default AllowRequestsFailingPolicy := false
default CloseStdinRequest := true
default CopyFileRequest := false
default CreateContainerRequest := false
default CreateSandboxRequest := false
default DestroySandboxRequest := true
default ExecProcessRequest := false
default GetMetricsRequest := true
default GetOOMEventRequest := true
default GuestDetailsRequest := true
default ListInterfacesRequest := true
default ListRoutesRequest := true
default OnlineCPUMemRequest := true
default ReadStreamRequest := true
default RemoveContainerRequest := true
default SetPolicyRequest := false
default SignalProcessRequest := true
default StartContainerRequest := true
default StatsContainerRequest := true
default TtyWinResizeRequest := true
default UpdateContainerRequest := false
default UpdateInterfaceRequest := true
default UpdateRoutesRequest := true
default WaitProcessRequest := true
default WriteStreamRequest := false

# One sandbox, without hooks or modules of the host's, and with memory as its only
# storage: one that lies where a root is to come would keep the image from being
# pulled. Its identifier is kept, since agents know the pause container by it.
CreateSandboxRequest := {"allowed": true, "ops": ops} if {
    not data.pstate.sandbox_id
    is_none(object.get(input, "guest_hook_path", null))
    is_none(object.get(input, "kernel_modules", null))
    every storage in input.storages { is_shared_memory(storage) }
    ops := [{"op": "add", "path": "/pstate/sandbox_id", "value": input.sandbox_id}]
}

# Names, hosts and the termination log of the pod: regular files, since through a link
# that the host made it could write elsewhere.
CopyFileRequest if {
    parts := split(input.path, "/")
    count(parts) == 6
    startswith(input.path, "/run/kata-containers/shared/containers/")
    some file in allowed.files
    is_copy(parts[5], file_name(file))
    is_file_type(32768)
}

# What lies in volumes, where the owner allows any.
CopyFileRequest if {
    parts := split(input.path, "/")
    count(parts) >= 6
    startswith(input.path, "/run/kata-containers/shared/containers/")
    not contains(input.path, "..")
    some volume in allowed.volumes
    is_copy(parts[5], file_name(volume))
    some file_type in [16384, 32768]
    is_file_type(file_type)
}

# The pause container of the guest's own image. Agents differ in how they know it: by
# its identifier, its annotations, or what is said with the storage. All must say so,
# or else an image of that name would be pulled from wherever the host likes.
CreateContainerRequest if {
    input.OCI.Annotations["io.kubernetes.cri.container-type"] == "sandbox"
    input.OCI.Annotations["io.katacontainers.pkg.oci.container_type"] == "pod_sandbox"
    input.container_id == data.pstate.sandbox_id
    is_confined
    is_pause_user(input.OCI.Process.User)
    is_subset_of(capability_names, default_capabilities)
    count(input.storages) == 1
    is_root_image(input.storages[0], "pause")
    is_said_to_be_pause(input.storages[0])
    input.OCI.Process.Args == ["/pause"]
    every variable in input.OCI.Process.Env { regex.match(`^(PATH|HOSTNAME)=`, variable) }
    every mount in input.OCI.Mounts { is_runtime_mount(mount) }
}

CreateContainerRequest if {
    input.OCI.Annotations["io.kubernetes.cri.container-type"] == "container"
    input.OCI.Annotations["io.katacontainers.pkg.oci.container_type"] == "pod_container"
    is_confined
    is_user(input.OCI.Process.User)
    is_subset_of(capability_names, allowed.capabilities)
    input.OCI.Process.Cwd == allowed.directory
    input.OCI.Process.NoNewPrivileges == true
    input.OCI.Process.Terminal == false
    input.OCI.Root.Readonly == allowed.readonly_root
    is_subset_of(masked_paths, input.OCI.Linux.MaskedPaths)
    is_subset_of(readonly_paths, input.OCI.Linux.ReadonlyPaths)
    images := [storage | some storage in input.storages; is_root_image(storage, allowed.image)]
    count(images) == 1
    others := [storage | some storage in input.storages; is_memory(storage)]
    count(images) + count(others) == count(input.storages)
    input.OCI.Process.Args == allowed.words
    every variable in input.OCI.Process.Env { is_allowed(variable) }
    every mount in input.OCI.Mounts { is_allowed_mount(mount) }
}

# No code, device or setting of the host's comes in beside the image. The agent takes
# the root that the host names if it has none itself, so it must be the image's place,
# which is not below /run/kata-containers/shared, where the host's files go. And by
# kernel.core_pattern, for one, a sysctl can name a program.
is_confined if {
    regex.match(`^[a-z0-9]{64}$`, input.container_id)
    input.OCI.Root.Path == root
    is_without_hooks
    is_none(object.get(input, "devices", null))
    is_none(object.get(input, "shared_mounts", null))
    is_none(object.get(input.OCI.Linux, "Devices", null))
    is_harmless(object.get(input.OCI.Linux, "Sysctl", null))
    is_apart
}

# The container has namespaces of its own. One that is missing, or that has a path, is
# the agent's or another container's: its processes could then be read and traced. The
# network is the guest's, so the runtime leaves that one out.
is_apart if {
    object.get(input, "sandbox_pidns", false) == false
    types := [namespace.Type | some namespace in input.OCI.Linux.Namespaces]
    is_subset_of(["ipc", "mount", "pid", "uts"], types)
    every namespace in input.OCI.Linux.Namespaces {
        namespace.Type in ["cgroup", "ipc", "mount", "pid", "uts"]
        is_none(object.get(namespace, "Path", null))
    }
}

is_user(user) if {
    user.UID == allowed.user
    user.GID == allowed.group
    is_subset_of(object.get(user, "AdditionalGids", null), array.concat([allowed.group], allowed.groups))
}

# The pause container has the pod's user, or its image's own.
is_pause_user(user) if is_user(user)

is_pause_user(user) if {
    user.UID == 65535
    user.GID == 65535
    is_subset_of(object.get(user, "AdditionalGids", null), [65535])
}

# Of all five sets, since the bounding set is what a program may still get.
capability_names := {name |
    some set in object.get(input.OCI.Process, "Capabilities", {})
    is_array(set)
    some name in set
}

# What a runtime gives a container that asks for nothing.
default_capabilities := [
    "CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
]

# Through these the guest's kernel shows or changes itself. Runtimes hide more.
masked_paths := ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"]

readonly_paths := ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]

is_subset_of(part, whole) if is_none(part)

is_subset_of(part, whole) if {
    not is_string(part)
    every element in part { element in whole }
}

root := concat("/", ["/run/kata-containers", input.container_id, "rootfs"])

is_without_hooks if is_null(object.get(input.OCI, "Hooks", null))

is_without_hooks if {
    is_object(input.OCI.Hooks)
    every kind, hooks in input.OCI.Hooks {
        is_string(kind)
        is_none(hooks)
    }
}

is_harmless(settings) if is_none(settings)

is_harmless(settings) if {
    is_object(settings)
    every name, value in settings {
        name in ["net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range"]
        is_string(value)
    }
}

# Absent, or the default of its type.
is_none(value) if is_null(value)

is_none(value) if value == ""

is_none(value) if {
    is_array(value)
    count(value) == 0
}

is_none(value) if {
    is_object(value)
    count(value) == 0
}

is_root_image(storage, source) if {
    storage.driver == "image_guest_pull"
    storage.source == source
    storage.fstype == "overlay"
    storage.mount_point == root
    is_none(object.get(storage, "options", null))
}

is_said_to_be_pause(storage) if is_none(object.get(storage, "driver_options", null))

is_said_to_be_pause(storage) if {
    count(storage.driver_options) == 1
    startswith(storage.driver_options[0], "image_guest_pull=")
    said := json.unmarshal(trim_prefix(storage.driver_options[0], "image_guest_pull="))
    said.metadata["io.kubernetes.cri.container-type"] == "sandbox"
}

is_shared_memory(storage) if {
    storage.driver == "ephemeral"
    storage.fstype == "tmpfs"
    storage.source == "shm"
    storage.mount_point == "/run/kata-containers/sandbox/shm"
}

# Volumes that are made in the guest.
is_memory(storage) if {
    storage.driver == "ephemeral"
    storage.fstype == "tmpfs"
    storage.source == "tmpfs"
    is_memory_path(storage.mount_point)
}

is_memory(storage) if {
    storage.driver == "local"
    storage.fstype == "local"
    storage.source == "local"
    is_memory_path(storage.mount_point)
}

is_memory_path(path) if {
    not contains(path, "..")
    regex.match(`^/run/kata-containers/sandbox/ephemeral/[^/]+$`, path)
}

is_memory_path(path) if {
    not contains(path, "..")
    regex.match(`^/run/kata-containers/shared/containers/[a-z0-9]{64}/(rootfs/)?local/[^/]+$`, path)
}

is_allowed_mount(mount) if is_runtime_mount(mount)

is_allowed_mount(mount) if {
    mount.destination in allowed.volumes
    mount.type_ in ["bind", "local"]
    is_memory_path(mount.source)
}

is_allowed_mount(mount) if {
    mount.destination in allowed.volumes
    is_copy_mount(mount)
}

# What the guest's kernel makes. An option could turn it into a bind mount of anything.
is_runtime_mount(mount) if {
    some known in allowed.kernel_mounts
    mount.destination == known.destination
    mount.type_ == known.type
    not startswith(mount.source, "/")
    every option in mount.options { not option in ["bind", "rbind", "remount", "move"] }
}

is_runtime_mount(mount) if {
    mount.destination == "/dev/shm"
    mount.type_ == "bind"
    mount.source == "/run/kata-containers/sandbox/shm"
}

is_runtime_mount(mount) if {
    mount.destination in allowed.files
    is_copy_mount(mount)
}

# A file or directory that was copied for this very container and this very place.
is_copy_mount(mount) if {
    mount.type_ == "bind"
    startswith(mount.source, "/run/kata-containers/shared/containers/")
    parts := split(mount.source, "/")
    count(parts) == 6
    startswith(parts[5], concat("", [input.container_id, "-"]))
    is_copy(parts[5], file_name(mount.destination))
}

# CONTAINER-RANDOM-NAME, as the runtime calls what it copies.
is_copy(entry, name) if {
    regex.match(`^[a-z0-9]{64}-[a-z0-9]{16}-`, entry)
    endswith(entry, concat("", ["-", name]))
    count(entry) == 82 + count(name)
}

# By the type bits of a file's mode: 16384 is a directory, 32768 a regular file.
is_file_type(bits_of_type) if bits.and(input.file_mode, 61440) == bits_of_type

file_name(path) := name if {
    parts := split(path, "/")
    name := parts[count(parts) - 1]
}

is_allowed(variable) if variable in allowed.variables

is_allowed(variable) if {
    some name in allowed.free_variables
    startswith(variable, concat("", [name, "="]))
}
