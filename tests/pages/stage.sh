# What the commands of a page find when CI runs them: `cargo xtask commands` reads this file first,
# then the page's blocks in order, in one shell. The directory is fresh, and it is also HOME.
#
# STAGE       logs, and what readers do not see
# PROGRAMS    the directory with the built programs; it is on the PATH
# REPOSITORY  this repository

# Where the shell is in the page.
BLOCK='the start'
# Process groups of the servers that were started.
SERVERS=()
# The log of the last server.
LOG=/dev/null
# How many servers were started that no reader sees.
HIDDEN=0

at() { BLOCK=$1; }

# Ends the servers, the last one first.
end() {
    local status=$? index id tries
    trap - EXIT
    for ((index = ${#SERVERS[@]} - 1; index >= 0; index--)); do
        id=${SERVERS[index]}
        kill -TERM -- "-$id" 2>/dev/null || continue
        for ((tries = 0; tries < 600; tries++)); do
            kill -0 -- "-$id" 2>/dev/null || break
            sleep 0.05
        done
        kill -KILL -- "-$id" 2>/dev/null || true
    done
    if ((status != 0)); then
        echo "failed with $status in the block at $BLOCK"
        for log in "$STAGE"/*.log; do
            [[ $log == */page.log || ! -s $log ]] || { echo "--- $log"; tail -n 40 "$log"; }
        done
    fi
    exit "$status"
}
trap end EXIT

# Waits for a server: its process group, its log, and what it prints when it is ready.
started() {
    local id=$1 tries
    LOG=$2
    SERVERS+=("$id")
    # xtask reads this if bash itself ended without its trap.
    echo "$id" >>"$STAGE/servers"
    for ((tries = 0; tries < 2400; tries++)); do
        if grep -qF -- "$3" "$LOG"; then return 0; fi
        if ! kill -0 "$id" 2>/dev/null; then
            # It may have printed it just before it ended.
            if grep -qF -- "$3" "$LOG"; then return 0; fi
            echo "the server ended before it printed: $3"
            return 1
        fi
        sleep 0.05
    done
    echo "after 120 s the server has not printed: $3"
    return 1
}

# Starts a server that no reader sees.
# serve READY COMMAND...
serve() {
    local ready=$1 log
    log=$STAGE/hidden-$((++HIDDEN)).log
    shift
    set -m
    "$@" >"$log" 2>&1 </dev/null &
    set +m
    started $! "$log" "$ready"
}

# The word after a text in the log of the last server.
after() { sed -n "s|.*$1\([^ ,]*\).*|\1|p" "$LOG" | sed -n 1p; }

# A Python with the modules of the examples, if tests/pages/install.sh made one.
PYTHON=$REPOSITORY/target/pages/bin/python
[[ -x $PYTHON ]] || PYTHON=python3
python_has() {
    local module
    for module in "$@"; do
        if ! "$PYTHON" -c "import $module" 2>/dev/null; then
            echo "SKIPPED: Python has no $module, for the block at $BLOCK"
            return 1
        fi
    done
}

# The programs are built already, and other steps of CI compile them in all forms. So `cargo build`
# puts the built ones where a release would be.
cargo() {
    case "$*" in
        "build --release --bins")
            mkdir -p target
            ln -sfn "$PROGRAMS" target/release
            ;;
        "xtask model "*) "$PROGRAMS/xtask" "${@:2}" ;;
        # A step of CI of its own, since it compiles in a form of its own.
        demo) echo "see the step \"demo\"" ;;
        *)
            echo "stage.sh: cargo $* is not known here"
            return 1
            ;;
    esac
}

# A simulated platform and its PCCS: `platform/`, and PCCS_URL in the environment.
stage_platform() {
    serve "listening on" adytum-sim --platform platform 127.0.0.1:0
    PCCS_URL=http://$(after "listening on ")
    export PCCS_URL
}

# A broker of the owners alice and bob, both of whom must agree: `alice.pem`, `bob.pem`, `genesis.toml`,
# `broker-policy.toml`, and a context that names all of it but the owners. BROKER is its address.
stage_broker() {
    [[ -n ${PCCS_URL:-} ]] || stage_platform
    adytum owner new --out alice.pem
    adytum owner new --out bob.pem
    ALICE=$(adytum owner show alice.pem | grep -o 'ed25519:[0-9a-f]*')
    BOB=$(adytum owner show bob.pem | grep -o 'ed25519:[0-9a-f]*')
    adytum genesis new --owner "$ALICE" --owner "$BOB" --threshold "${THRESHOLD:-2}" --out genesis.toml
    broker_policies "$PROGRAMS/adytum-broker" >broker-policy.toml
    start_broker
}

# The context of the broker that runs.
stage_context() {
    adytum context add stage --broker "$BROKER" --genesis genesis.toml --broker-policy broker-policy.toml \
        --collateral "$PCCS_URL" --trust-simulation platform/root.pem --heads heads.json
}

# A policy for simulated brokers: these programs.
broker_policies() {
    local program measurements=()
    for program in "$@"; do measurements+=("\"$(adytum measure --broker "$program")\""); done
    local IFS=,
    printf 'vendors = ["simulation"]\ntee = ["sgx"]\nmr_enclave = [%s]\n' "${measurements[*]}"
}

# Starts the broker of `genesis.toml` on its state. Further arguments are flags.
start_broker() {
    serve "Server listening on" "${BROKER_PROGRAM:-adytum-broker}" --genesis genesis.toml --tee simulation=platform \
        --collateral "$PCCS_URL" --state-directory state "$@" "${BROKER_LISTEN:-127.0.0.1:0}"
    BROKER=$(after "Server listening on ")
    stage_context
}

# Ends the last server in good order.
stop_last() {
    local id=${SERVERS[-1]} tries
    kill -"${1:-TERM}" -- "-$id"
    for ((tries = 0; tries < 1200; tries++)); do
        kill -0 -- "-$id" 2>/dev/null || break
        sleep 0.05
    done
    unset 'SERVERS[-1]'
}

# A recovery key, `recovery.key`; RECIPIENT is its public half.
stage_recipient() {
    [[ -n ${RECIPIENT:-} ]] || RECIPIENT=$(adytum recovery-key new --out recovery.key)
}

# The measured configuration of a model server for the broker, `workload.toml`, with the secrets ssl_config
# and model_key. IDENTITY is that of the server with it.
stage_configuration() {
    [[ -f genesis.toml ]] || stage_broker
    {
        printf 'format = "adytum workload v1"\n[program]\n'
        printf 'arguments = ["--model_name={name}", "--model_base_path={path}", "--port={number}", '
        printf '"--ssl_config_file=/etc/tf_ssl.cfg"]\n'
        configured_broker
        printf '[[secret]]\nname = "ssl_config"\npath = "/etc/tf_ssl.cfg"\n[[secret]]\nname = "model_key"\n'
    } >workload.toml
    IDENTITY=$(adytum measure --configuration workload.toml --program "$PROGRAMS/adytum-serving")
}

# The table of a measured configuration that pins the broker.
configured_broker() {
    printf '[broker]\ngenesis = "%s"\nsimulation_root = """\n' "$(genesis_digest)"
    cat platform/root.pem
    printf '"""\n[broker.policy]\n'
    cat broker-policy.toml
}

genesis_digest() { adytum genesis show --digest genesis.toml; }

# A manifest with the workload "digits", whose identity is the first argument, and the secrets of manifest.md.
# Both owners sign it. Further tables come from standard input.
# write_manifest FILE VERSION IDENTITY
write_manifest() {
    {
        printf 'format = "adytum manifest v1"\ngenesis = "%s"\nversion = %s\n\n' "$(genesis_digest)" "$2"
        printf '[trust]\nvendors = ["simulation"]\nsimulation_roots = ["""\n'
        cat platform/root.pem
        printf '"""]\n\n[[workload]]\nname = "digits"\nmodels = ["digits"]\n[workload.policy]\nvendors = ["simulation"]\n'
        printf 'tee = ["sgx"]\nidentity = ["%s"]\n\n' "$3"
        printf '[[secret]]\nname = "ssl_config"\nkind = "opaque"\nworkloads = ["digits"]\n\n'
        printf '[[secret]]\nname = "model_key"\nkind = "age-identity"\nworkloads = ["digits"]\n\n'
        printf '[[secret]]\nname = "session_seed"\nkind = "random"\nworkloads = ["digits"]\n\n'
        printf '[[secret]]\nname = "tls"\nkind = "tls-certificate"\nworkloads = ["digits"]\n[secret.certificate]\n'
        printf 'dns_names = ["localhost"]\nusages = ["server"]\nlifetime = "24h"\n\n'
        printf '[[model]]\nname = "digits"\nsigners = ["%s"]\nminimum_version = 1\n\n' "$ALICE"
        cat
    } >"$1"
}

# The table that names the holder of the recovery key.
recovery() { printf '[recovery]\nthreshold = 1\nrecipients = ["%s"]\n' "$RECIPIENT"; }

sign() {
    rm -f "$1.sig"
    adytum manifest sign "$1" --owner alice.pem
    adytum manifest sign "$1" --owner bob.pem
}

# A broker with a manifest in force, `manifest.toml`; `next.toml` is the same with the next version. `ssl.cfg` and
# `model.key` are values for its secrets.
stage_manifest() {
    stage_configuration
    stage_recipient
    recovery | write_manifest manifest.toml 1 "$IDENTITY"
    recovery | write_manifest next.toml 2 "$IDENTITY"
    sign manifest.toml
    adytum manifest apply manifest.toml --owner alice.pem --owner bob.pem
    adytum ssl-config new --host localhost --crt stage.crt --out ssl.cfg
    adytum model-key new --out model.key
}

# The same, with both values at the broker.
stage_secrets() {
    stage_manifest
    local name
    for name in ssl_config:ssl.cfg model_key:model.key; do
        adytum secret put "${name%:*}" --from-file "${name#*:}" --owner alice.pem --owner bob.pem
    done
}

# A replica that shows its evidence at REPLICA, and waits for what the broker may release.
stage_replica() {
    [[ -f workload.toml ]] || stage_configuration
    mkdir -p models
    # Ports that are free; neither of them answers before the broker released the secrets.
    serve "showing evidence to every peer that asks" adytum-serving --tee simulation=platform --collateral "$PCCS_URL" \
        --configuration workload.toml --broker "$BROKER" --model_name=digits --model_base_path="$PWD/models" \
        --port=0 --ssl_config_file=/etc/tf_ssl.cfg --evidence-listen 127.0.0.1:0
    REPLICA=$(after 'evidence to every peer that asks.*address=')
}

# The measured configuration of /bin/sh, `server.toml`, as that of any server.
stage_shell_workload() {
    local library
    {
        printf 'format = "adytum workload v1"\n[program]\npath = "/bin/sh"\nsha256 = "%s"\n' "$(digest /bin/sh)"
        printf 'required_arguments = [["-c", "*"]]\n'
        for library in $(libraries /bin/sh); do
            printf '[[library]]\npath = "%s"\nsha256 = "%s"\n' "$library" "$(digest "$library")"
        done
        configured_broker
    } >server.toml
}

digest() { sha256sum "$1" | cut -d ' ' -f 1; }

# What the loader opens for a program, and the loader.
libraries() { ldd "$1" | grep -o '/[^ ]*'; }

# A program that may be missing: then its blocks do nothing and CI says so.
optional() {
    if command -v "$1" >/dev/null; then return; fi
    echo "SKIPPED: there is no $1, for the blocks after $BLOCK"
    eval "$1() { :; }"
}

# Go's results are kept between pages.
export GOCACHE=$REPOSITORY/target/go-cache

# A port that is free now, and that the system gives to nobody who asks for any.
free_port() {
    python3 - <<'END'
import random
import socket

while True:
    port = random.randrange(20000, 32000)
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        continue
    print(port)
    break
END
}
