#!/usr/bin/env bash
# Builds the container images of the broker, the model server, the client and the
# proxy, and first of all what their owner has: see `adytum deployment`.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
# shellcheck source=images/engine.sh
source "$here/images/engine.sh"
# shellcheck source=images/binaries.sh
source "$here/images/binaries.sh"
# shellcheck source=images/search.sh
source "$here/images/search.sh"
# shellcheck source=images/onnxruntime/engine.sh
source "$here/images/onnxruntime/engine.sh"

usage() {
    cat <<'END'
Build Occlum TF examples container images for k8s deployment.
usage: build.sh [OPTION]...
    -r <container image registry> the container image registry
    -g <tag> container image tag
    -h <usage> usage help
    -s simulate the TEE, which protects nothing: also builds adytum_sim
    -m <model> what is served as "resnet": resnet50 (default), digits or an ONNX file
    -d <directory> the owner's directory (default: deploy/owner), which is made; one that `adytum deployment new`
       or `adytum up` made has models of its own, and -m is not for it
    -n <name> a further name or address in the server's certificate; may be repeated
    -p <file> the policy that identifies the broker (TOML), for hardware
    -w <file> the policy that identifies the workload (TOML), for hardware
    -e <engine> what runs the models in tf_demo: static (default) or onnxruntime
    -o <directory> also write each image as an archive (docker load, ctr images import)
    --check-reproducible build a second time, from a copy of the commit elsewhere, and compare
END
}

registry=demo tag=$(source_version "$root") simulation='' model='' owner=$here/owner archives='' check='' model_engine=static
host_options=() owner_options=() engine_options=()
words=()
for word in "$@"; do
    if [[ $word == --check-reproducible ]]; then check=yes; else words+=("$word"); fi
done
set -- "${words[@]}"
while getopts 'r:g:hsm:d:n:p:w:e:o:' option; do
    case $option in
        r) registry=$OPTARG ;;
        g) tag=$OPTARG ;;
        s) simulation=yes ;;
        m) model=$OPTARG ;;
        d) owner=$OPTARG ;;
        n) host_options+=(--host "$OPTARG") ;;
        p) owner_options+=(--broker-policy "$OPTARG") ;;
        w) owner_options+=(--workload-policy "$OPTARG") ;;
        e) model_engine=$OPTARG ;;
        o) archives=$OPTARG ;;
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
shift $((OPTIND - 1))
# Absolute, since not everything runs in this directory.
owner=$(realpath -m "$owner")
[[ -z $archives ]] || archives=$(realpath -m "$archives")
[[ ! -f $model ]] || model=$(realpath "$model")
if (($# > 0)); then
    echo "build.sh: unexpected argument '$1'" >&2
    usage >&2
    exit 2
fi

fail() {
    echo "build.sh: $*" >&2
    exit 1
}

case $model_engine in
    static | onnxruntime) ;;
    *) fail "-e $model_engine: expected static or onnxruntime" ;;
esac
command -v cargo >/dev/null || fail "a Rust toolchain is needed: cargo is not there"
engine=''
find_engine
target_directory=${CARGO_TARGET_DIR:-$root/target}
work=$target_directory/images
binaries=$work/bin/${simulation:+simulation}
[[ -n $simulation ]] || binaries=$work/bin/production
[[ $model_engine == static ]] || binaries+=-$model_engine
epoch=$(source_date "$root")
revision=$(source_revision "$root")
if [[ -n $simulation ]]; then
    tee=simulation=http://adytum-sim:8081
    images=(init_ra_server tf_demo tf_demo_client adytum_proxy adytum_sim)
else
    tee=auto
    images=(init_ra_server tf_demo tf_demo_client adytum_proxy)
fi

# put SOURCE CONTEXT PATH: a file, or a directory, into an image's context.
put() {
    mkdir -p "$2/$(dirname "$3")"
    cp -r --no-preserve=mode,ownership,timestamps "$1" "$2/$3"
}

# What every image has: its users, how names are looked up, what it is made of.
put_system() {
    local package=$1 program=$2
    mkdir -p "$program/etc" "$program/usr/bin" "$program/usr/share/doc/adytum"
    echo 'adytum:x:65532:65532:adytum:/:/sbin/nologin' >"$program/etc/passwd"
    echo 'adytum:x:65532:' >"$program/etc/group"
    echo 'hosts: files dns' >"$program/etc/nsswitch.conf"
    install -m 0755 "$binaries/$package" "$program/usr/bin/$package"
    install -m 0644 "$root/LICENSE" "$program/usr/share/doc/adytum/LICENSE"
    install -m 0644 "$work/sbom/$package.cdx.json" "$program/usr/share/doc/adytum/sbom.cdx.json"
}

# context IMAGE: makes the directory that the image is built from; program/ is
# the same for every owner, owner/ is not.
context() {
    local at=$work/context/$1
    rm -rf "$at"
    mkdir -p "$at/program" "$at/owner"
    case $1 in
        init_ra_server)
            put_system adytum-broker "$at/program"
            put "$owner/public/genesis.toml" "$at/owner" etc/adytum/genesis.toml
            ;;
        tf_demo)
            put_system adytum-serving "$at/program"
            [[ $model_engine == static ]] ||
                put_onnxruntime "$onnxruntime_library" "$at/program" "$binaries/adytum-serving"
            [[ ! -f $owner/public/workload.toml ]] ||
                put "$owner/public/workload.toml" "$at/owner" etc/adytum/workload.toml
            put "$owner/models" "$at/owner" models
            ;;
        tf_demo_client)
            put_system adytum "$at/program"
            ln -s adytum "$at/program/usr/bin/python3"
            put "$work/cat.jpg" "$at/program" demo/cat.jpg
            put "$root/examples/digits/images" "$at/program" demo/digits
            put "$owner/public/server.crt" "$at/owner" demo/server.crt
            ;;
        adytum_proxy) put_system adytum "$at/program" ;;
        adytum_sim) put_system adytum-sim "$at/program" ;;
    esac
    # Neither the mode nor the date of a file may depend on who built it.
    find "$at" -type d -exec chmod 0755 {} +
    find "$at" -type f ! -path '*/usr/bin/*' ! -name '*.so' ! -name '*.so.*' -exec chmod 0644 {} +
    find "$at" -exec touch --no-dereference --date="@$epoch" {} +
}

# build_one IMAGE ARCHIVE
build_one() {
    local name=$registry/$1:$tag arguments=() file=$here/images/$1.Containerfile
    [[ $1 != tf_demo || $model_engine == static ]] || file=$here/images/tf_demo_$model_engine.Containerfile
    context "$1"
    case $1 in init_ra_server | tf_demo) arguments=(--build-arg "TEE=$tee") ;; esac
    [[ -z $simulation ]] || arguments+=(--label "adytum.simulation=protects nothing")
    build_image "$name" "$file" "$work/context/$1" "$epoch" "${arguments[@]}" \
        --label "org.opencontainers.image.version=$tag" \
        --label "org.opencontainers.image.revision=$revision" \
        --label "org.opencontainers.image.created=$(date --utc --date="@$epoch" +%Y-%m-%dT%H:%M:%SZ)"
    save_image "$name" "$2"
    install -m 0644 "$work/context/$1/program/usr/share/doc/adytum/sbom.cdx.json" "${2%.tar}.cdx.json"
}

# megabytes PATH...: of all files below, in millions of bytes.
megabytes() {
    find "$@" -type f -printf '%s\n' | awk '{ sum += $1 } END { printf "%.1f MB", sum / 1e6 }'
}

size() {
    local at=$work/context/$1
    if [[ $1 == tf_demo ]]; then
        local without=("$at/program")
        [[ ! -d $at/owner/etc ]] || without+=("$at/owner/etc")
        echo "$(megabytes "${without[@]}") and $(megabytes "$at/owner/models") of sealed models"
    else
        megabytes "$at"
    fi
}

# plain_model NAME MODEL: puts what is served as NAME into plain/ of the owner's directory. Another
# model than before becomes the next version.
plain_model() {
    local plain=$owner/plain/$1.onnx noted=$owner/plain/$1.source source=$2
    case $source in
        resnet50)
            [[ -f $plain && -f $noted && $(<"$noted") == resnet50 ]] ||
                (cd "$root" && cargo xtask model resnet50 --out "$plain" >/dev/null)
            ;;
        *)
            [[ $source != digits ]] || source=$root/examples/digits/model.onnx
            [[ -f $source ]] || fail "$source is no model: give resnet50, digits or an ONNX file"
            [[ $source -ef $plain ]] || install -m 0644 "$source" "$plain"
            ;;
    esac
    echo "$2" >"$noted"
}

# The owner's directory: the reference's models and names, unless it has others.
prepare_owner() {
    local options=(--owner-directory "$owner")
    if [[ ! -f $owner/deployment.toml ]]; then
        (umask 077 && mkdir -p "$owner/plain")
        plain_model resnet "${model:-resnet50}"
        plain_model digits digits
        "$binaries/adytum" deployment new "${options[@]}" --workload tf-demo --host tf-demo-svc "${host_options[@]}" \
            --model "resnet@123=$owner/plain/resnet.onnx" --model "digits=$owner/plain/digits.onnx" >/dev/null
    elif [[ -n $model ]]; then
        [[ -f $owner/plain/resnet.source ]] || fail "-m $model: $owner/deployment.toml says which models are served"
        plain_model resnet "$model"
    fi
    "$binaries/adytum" deployment build "${options[@]}" --programs "$binaries" ${simulation:+--simulate} \
        "${host_options[@]}" "${owner_options[@]}" "${engine_options[@]}"
}

# build_all SOURCE TARGET_DIRECTORY TAG: the images from this source; sets `ids`.
build_all() {
    local package image extra
    tag=$3
    ids=() files=()
    mkdir -p "$work/sbom" "$out"
    build_binaries "$1" "$2" "$binaries" "$simulation"
    if [[ $model_engine == onnxruntime ]]; then
        build_dynamic_serving "$1" "$2" "$binaries" "$simulation"
        onnxruntime_library=$("$here/images/onnxruntime/library.sh" "$work/onnxruntime")
        pin_onnxruntime "$onnxruntime_library" "$binaries/adytum-serving" >"$work/onnxruntime.toml"
        engine_options=(--engine "$work/onnxruntime.toml")
    fi
    (
        cd "$root"
        for package in adytum adytum-broker adytum-serving ${simulation:+adytum-sim}; do
            extra=()
            [[ $package != adytum-serving || $model_engine == static ]] ||
                extra=(--feature onnxruntime --linked "onnxruntime=${onnxruntime_library##*.so.}=MIT"
                    --linked "libstdc++=$(cc -dumpfullversion)=GPL-3.0-only WITH GCC-exception-3.1")
            write_sbom "$package" "$work/sbom/$package.cdx.json" "$simulation" "${extra[@]}"
        done
        cargo xtask image picture --out "$work/cat.jpg"
    )
    prepare_owner
    for image in "${images[@]}"; do
        build_one "$image" "$out/$image.tar"
        files+=("$out/$image.tar")
        ids+=("$(image_id "$registry/$image:$tag")")
    done
}

# The same commit in another place, with nothing that was built before, must give
# the same images. The owner's directory is an input of both.
check_reproducible() {
    local first=("${ids[@]}") other index same=yes
    [[ $revision != *-changed && $revision != unknown ]] || fail "what is built is no commit: commit first"
    other=$(mktemp -d)
    # shellcheck disable=SC2064 # the directory of now
    trap "rm -rf '$other'" EXIT
    mkdir "$other/source"
    git -C "$root" archive "$revision" | tar -x -C "$other/source"
    work=$other/images binaries=$other/bin out=$other/archives
    build_all "$other/source" "$other/target" "$tag"
    for index in "${!images[@]}"; do
        if [[ ${first[index]} == "${ids[index]}" ]]; then
            echo "reproducible: ${images[index]} sha256:${ids[index]}"
        else
            echo "NOT reproducible: ${images[index]} sha256:${first[index]}, then sha256:${ids[index]}"
            same=''
        fi
    done
    [[ -n $same ]] || fail "two builds of $revision differ"
}

echo "Adytum images $registry/*:$tag from $revision, with $engine"
[[ -z $simulation ]] || echo "SIMULATION: these images protect nothing"
out=${archives:-$work/archives}
ids=() files=()
build_all "$root" "$target_directory" "$tag"

# No image leaves here with a secret or a plain model in it.
(cd "$root" && search_images "$binaries/adytum" "$owner" "${files[@]}") ||
    fail "an image holds a secret, or could not be searched: it is not to be shipped"

echo
for index in "${!images[@]}"; do
    printf '%-34s sha256:%s  %s\n' "$registry/${images[index]}:$tag" "${ids[index]}" "$(size "${images[index]}")"
done
[[ -z $archives ]] || echo "archives and SBOMs: $archives"
if [[ ! -f $owner/public/workload.toml ]]; then
    cat <<'END'

tf_demo is not finished: it must pin the broker's measurement, which is known once init_ra_server is in its TEE. Until then
it ends with "no-models-allowed". Measure the broker and build again with -p FILE: see "Three builds" in
docs/kubernetes-hardware.md. To try everything on any machine, simulate: -s.
END
elif [[ -z $simulation && ! " ${owner_options[*]} " =~ " --workload-policy " ]]; then
    cat <<'END'

There is no manifest for these images yet: it must pin tf_demo's measurement, which is known once tf_demo is in its TEE.
Measure it, and build again with -w FILE too: see "Three builds" in docs/kubernetes-hardware.md.
END
fi
[[ -z $check ]] || check_reproducible
