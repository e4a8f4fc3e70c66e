#!/usr/bin/env bash
# What an owner does before anything is deployed: keys, the genesis, the sealed
# model, measured configurations and the signed manifest, in one directory.
# Run again, it makes what is missing and measures what has changed.
#
# On hardware a TEE says what it measured only once an image is there, so not all of
# it can be made at first: without -p no measured configuration, without that or -w no
# manifest. It says what is missing.
#
#   public/    may be known: genesis, policies, measured configuration, manifest, server.crt
#   private/   may not: the owner's key, the recovery key, secrets/NAME for the broker, platform/ of a simulation;
#              and server-names, the names in server.crt
#   plain/     the models as they are before they are sealed
#   models/    the sealed models
#   manifest-more.toml, if it is there, is added to the manifest: [leases], further workloads...
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() {
    cat <<'END'
Make or bring up to date what an owner of a broker and a model has.
usage: owner.sh [OPTION]...
    -d <directory> the owner's directory (default: deploy/owner)
    -b <directory> the programs that are going to run, to be measured
    -m <model> what is served as "resnet": resnet50, digits or an ONNX file
    -n <name> a further name or address in the server's certificate; may be repeated. It counts when the
       certificate is made: a name that an existing one lacks is refused
    -p <file> the policy that identifies the broker (TOML), for hardware
    -w <file> the policy that identifies the workload (TOML), for hardware
    -e <file> the tables of the measured configuration that pin ONNX Runtime (TOML): it runs the models
    -s simulate the TEE, which protects nothing
    -h usage help
END
}

directory=$root/deploy/owner binaries='' model=resnet50 simulation='' broker_policy='' workload_policy='' engine_tables=''
names=(localhost tf-demo-svc 127.0.0.1) further_names=()
while getopts 'd:b:m:n:p:w:e:sh' option; do
    case $option in
        d) directory=$OPTARG ;;
        b) binaries=$OPTARG ;;
        m) model=$OPTARG ;;
        n) further_names+=("$OPTARG") ;;
        p) broker_policy=$OPTARG ;;
        w) workload_policy=$OPTARG ;;
        e) engine_tables=$OPTARG ;;
        s) simulation=yes ;;
        h)
            usage
            exit 0
            ;;
        *)
            usage >&2
            exit 2
            ;;
    esac
done

fail() {
    echo "owner.sh: $*" >&2
    exit 1
}

[[ -x $binaries/adytum ]] || fail "give the directory with the programs: -b DIRECTORY"
adytum=$binaries/adytum
public=$directory/public private=$directory/private
umask 077
mkdir -p "$private/secrets"
umask 022
mkdir -p "$public" "$directory/plain" "$directory/models"

keys() {
    [[ -f $private/owner.pem ]] || "$adytum" owner new --out "$private/owner.pem" >/dev/null
    owner=$("$adytum" owner show "$private/owner.pem")
    [[ -f $public/genesis.toml ]] ||
        "$adytum" genesis new --owner "$owner" --threshold 1 --out "$public/genesis.toml" >/dev/null
    genesis=$("$adytum" genesis show --digest "$public/genesis.toml")
    [[ -f $private/secrets/model_key ]] ||
        "$adytum" model-key new --out "$private/secrets/model_key" >/dev/null
    recipient=$("$adytum" model-key show "$private/secrets/model_key")
    # Brings the broker's root key back when its node is lost: keep it elsewhere.
    [[ -f $private/recovery.key ]] || "$adytum" recovery-key new --out "$private/recovery.key" >/dev/null
    recovery=$("$adytum" recovery-key show "$private/recovery.key")
    server_certificate
    if [[ -n $simulation && ! -f $private/platform/platform.json ]]; then
        "$adytum" simulation new "$private/platform" >/dev/null
    fi
    if [[ -n $simulation ]]; then
        install -m 0644 "$private/platform/root.pem" "$public/simulation-root.pem"
        (umask 077 && simulation_secret >"$private/simulation-platform.yaml")
    fi
}

# The server's certificate and its key, both or neither, with the names that were asked for.
server_certificate() {
    local crt=$public/server.crt key=$private/secrets/ssl_config file=$private/server-names
    local all=("${names[@]}" "${further_names[@]}") known name
    if [[ ! -e $crt && ! -e $key ]]; then
        # First the names: a certificate that is there has the names in this file.
        printf '%s\n' "${all[@]}" >"$file"
        "$adytum" ssl-config new "${all[@]/#/--host=}" --crt "$crt" --out "$key" >/dev/null
        return
    fi
    [[ -f $key ]] ||
        fail "$crt is there without its key $key: bring that back, or remove the certificate to have both made"
    [[ -f $crt ]] ||
        fail "$key is there without its certificate $crt: bring that back, or remove the key to have both made"
    # A certificate without the file has the names that every one has, and maybe others.
    known=$(printf '%s\n' "${names[@]}")
    [[ ! -f $file ]] || known=$(<"$file")
    for name in "${further_names[@]}"; do
        grep -qxF -- "$name" <<<"$known" ||
            fail "$crt exists, and -n has no effect on it: it is for ${known//$'\n'/, }, as far as is known," \
                "and not for $name. Leave -n out, or remove $crt and $key to have both made again"
    done
}

# The simulated platform's keys, for its pod: the one Secret that a simulation has.
simulation_secret() {
    local file
    cat <<'END'
apiVersion: v1
kind: Secret
metadata:
  name: adytum-sim-platform
  labels:
    app: adytum-sim
    adytum/tee: simulation
  annotations:
    adytum/warning: "SIMULATION: these keys protect nothing"
stringData:
END
    for file in "$private/platform"/*; do
        [[ -f $file ]] || continue
        printf '  %s: |\n' "${file##*/}"
        sed 's/^/    /' "$file"
        # A file without a line end at its end.
        [[ -z $(tail -c 1 "$file") ]] || echo
    done
}

# plain_model NAME MODEL: puts the model that is served as NAME into plain/.
plain_model() {
    local plain=$directory/plain/$1.onnx source=$2
    case $source in
        resnet50)
            [[ -f $plain ]] || (cd "$root" && cargo xtask model resnet50 --out "$plain" >/dev/null)
            echo "$source" >"$directory/plain/$1.source"
            return
            ;;
        digits) source=$root/examples/digits/model.onnx ;;
    esac
    [[ -f $source ]] || fail "$source is no model: give resnet50, digits or an ONNX file"
    [[ -f $plain ]] || install -m 0644 "$source" "$plain"
    cmp -s "$source" "$plain" || fail "$plain is another model than $source: use another directory (-d)"
    echo "$2" >"$directory/plain/$1.source"
}

# seal NAME VERSION: once, since each sealing gives other bytes.
seal() {
    [[ -d $directory/models/$1/$2 ]] ||
        "$adytum" seal "$directory/plain/$1.onnx" --model "$1" --version "$2" --recipient "$recipient" \
            --owner "$private/owner.pem" --out "$directory/models/$1" >/dev/null
}

models() {
    local before=$directory/plain/resnet.source
    if [[ -f $before && $(<"$before") != "$model" ]]; then
        fail "$directory serves $(<"$before") as resnet: use another directory (-d) for $model"
    fi
    plain_model resnet "$model"
    plain_model digits digits
    seal resnet 123
    seal digits 1
}

# Prints the policy that identifies a program in simulation by its identity.
simulated() {
    printf 'vendors = ["simulation"]\ntee = ["sgx"]\nidentity = ["%s"]\n' "$1"
}

# policy FILE IDENTITY: the policy that was given, or the simulation's; else nothing.
policy() {
    if [[ -n $1 ]]; then
        cat "$1"
    elif [[ -n $simulation ]]; then
        simulated "$2"
    fi
}

# The flags of the reference, and the host's own (docs/measured-configuration.md).
workload() {
    local engine_argument=''
    [[ -z $engine_tables ]] || engine_argument=$'    "--engine=onnxruntime",\n'
    cat <<END
format = "adytum workload v1"

[program]
required_arguments = [
    "--ssl_config_file=/etc/tf_ssl.cfg",
$engine_argument]
arguments = [
    "--model_name={name}",
    "--model_base_path={path}",
    "--model_config_file={path}",
    "--monitoring_config_file={path}",
    "--rest_api_port={number}",
    "--port={number}",
    "--health_port={number}",
    "--drain_delay={number}",
    "--max_connection_age={number}",
]
END
    [[ -z $engine_tables ]] || printf '\n%s\n' "$(<"$engine_tables")"
    cat <<END

[broker]
genesis = "$genesis"
END
    [[ -z $simulation ]] || printf 'simulation_root = """\n%s\n"""\n' "$(<"$public/simulation-root.pem")"
    printf '\n[broker.policy]\n%s\n' "$(<"$public/broker-policy.toml")"
    cat <<'END'

[[secret]]
name = "ssl_config"
path = "/etc/tf_ssl.cfg"

[[secret]]
name = "model_key"
END
}

# manifest VERSION
manifest() {
    local vendors
    # Those whose machines the workload may run on, as its policy has them.
    vendors=$(sed -n 's/^vendors *= *\(\[[^]]*\]\).*/\1/p' <<<"$workload_rules" | head -n 1)
    [[ -n $vendors ]] || fail "the workload's policy has no line vendors = [...]"
    printf 'format = "adytum manifest v1"\ngenesis = "%s"\nversion = %s\n\n[trust]\nvendors = %s\n' \
        "$genesis" "$1" "$vendors"
    [[ -z $simulation ]] || printf 'simulation_roots = ["""\n%s\n"""]\n' "$(<"$public/simulation-root.pem")"
    printf '\n[recovery]\nthreshold = 1\nrecipients = ["%s"]\n' "$recovery"
    printf '\n[[workload]]\nname = "tf-demo"\nmodels = ["digits", "resnet"]\n\n[workload.policy]\n%s\n' \
        "$workload_rules"
    local name
    printf '\n[[secret]]\nname = "ssl_config"\nkind = "opaque"\nworkloads = ["tf-demo"]\n'
    printf '\n[[secret]]\nname = "model_key"\nkind = "age-identity"\nworkloads = ["tf-demo"]\n'
    for name in digits resnet; do
        printf '\n[[model]]\nname = "%s"\nsigners = ["%s"]\nminimum_version = 1\n' "$name" "$owner"
    done
    if [[ -f $directory/manifest-more.toml ]]; then
        echo
        cat "$directory/manifest-more.toml"
    fi
}

# Signs a manifest with a higher version if it says anything else than before.
sign_manifest() {
    local file=$public/manifest.toml version=0
    if [[ -f $file ]]; then
        version=$(sed -n 's/^version = //p' "$file" | head -n 1)
        if [[ $(manifest "$version") == "$(<"$file")" && -f $file.sig ]]; then
            return
        fi
    fi
    manifest $((version + 1)) >"$file"
    rm -f "$file.sig"
    "$adytum" manifest sign "$file" --owner "$private/owner.pem" >/dev/null
}

# Until a manifest is made for the present build: the previous one, without its signatures,
# keeps the version that the next one follows, and cannot be applied.
unsigned() {
    rm -f "$public/manifest.toml.sig"
}

keys
# What others can't read is what images are searched for.
chmod 0600 "$private/owner.pem" "$private/secrets"/*
models
echo "owner's directory  $directory"
echo "genesis            $genesis"
measurement=$("$adytum" measure --broker "$binaries/adytum-broker")
broker_rules=$(policy "$broker_policy" "$measurement")
if [[ -z $broker_rules ]]; then
    # What an earlier run made for another broker is not this one's.
    rm -f "$public/broker-policy.toml" "$public/workload.toml"
    unsigned
    echo 'broker             not identified yet: -p FILE'
    exit
fi
echo "$broker_rules" >"$public/broker-policy.toml"
echo "broker             $(grep -m 1 -E '^(identity|mr_enclave|mr_td|snp_measurement) = ' <<<"$broker_rules")"
workload >"$public/workload.toml"
identity=$("$adytum" measure --configuration "$public/workload.toml" --program "$binaries/adytum-serving")
echo "workload           $identity"
workload_rules=$(policy "$workload_policy" "$identity")
if [[ -z $workload_rules ]]; then
    unsigned
    echo 'manifest           not made yet: -w FILE'
    exit
fi
sign_manifest
echo "manifest           version $(sed -n 's/^version = //p' "$public/manifest.toml" | head -n 1)"
