#!/usr/bin/env bash
# Builds an image of an unmodified nginx with adytum-init as its entry point, and
# writes the measured configuration that pins nginx and every library it loads.
# The images of ../../build.sh, and so the owner's directory, come first.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
# shellcheck source=../engine.sh
source "$here/../engine.sh"
# shellcheck source=../binaries.sh
source "$here/../binaries.sh"

usage() {
    cat <<'END'
Build an image of nginx behind adytum-init.
usage: build.sh [OPTION]...
    -r <container image registry> the container image registry
    -g <tag> container image tag
    -b <base> a directory with the whole file system of a base with nginx in it (from an image: docker export)
    -d <directory> the owner's directory (default: deploy/owner)
    -o <directory> also write the image as an archive
    -s simulate the TEE, which protects nothing
    -h usage help
END
}

registry=demo tag=latest base='' owner=$root/deploy/owner archives='' simulation=''
while getopts 'r:g:b:d:o:sh' option; do
    case $option in
        r) registry=$OPTARG ;;
        g) tag=$OPTARG ;;
        b) base=$OPTARG ;;
        d) owner=$OPTARG ;;
        o) archives=$OPTARG ;;
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
    echo "build.sh: $*" >&2
    exit 1
}

[[ -n $base ]] || fail "give a base with nginx in it: -b DIRECTORY"
work=${CARGO_TARGET_DIR:-$root/target}/images
binaries=$work/bin/${simulation:+simulation}
[[ -n $simulation ]] || binaries=$work/bin/production
[[ -x $binaries/adytum-init && -f $owner/public/genesis.toml ]] || fail "run deploy/build.sh first"
engine=''
find_engine
epoch=$(source_date "$root")
context=$work/context/any-server
rm -rf "$context"
mkdir -p "$context/rootfs/usr/bin" "$context/rootfs/etc/adytum" "$context/rootfs/etc/nginx"

# The base as an image and as files: the files of the image are measured.
files=$base
if [[ -d $base ]]; then
    printf 'FROM scratch\nCOPY . /\n' >"$work/base.Containerfile"
    build_image "$registry/any-server-base:$tag" "$work/base.Containerfile" "$base" "$epoch"
    base=$registry/any-server-base:$tag
else
    fail "$base is no directory; unpack the image (docker export) and give the directory"
fi

sha256() {
    sha256sum "$files$(realpath_in "$1")" | cut -d' ' -f1
}

# realpath_in PATH: where a path leads within the base.
realpath_in() {
    chroot "$files" /usr/bin/realpath "$1"
}

libraries() {
    local path
    # "name => path (address)", and the loader as "path (address)".
    chroot "$files" /usr/bin/ldd /usr/sbin/nginx | grep -o '/[^ ]*' | sort -u | while read -r path; do
        printf '\n[[library]]\npath = "%s"\nsha256 = "%s"\n' "$path" "$(sha256 "$path")"
    done
}

configuration() {
    cat <<END
format = "adytum workload v1"

[program]
path = "/usr/sbin/nginx"
sha256 = "$(sha256 /usr/sbin/nginx)"
required_arguments = [["-c", "/etc/nginx/adytum.conf"]]
END
    libraries
    printf '\n[broker]\ngenesis = "%s"\n' "$("$binaries/adytum" genesis show --digest "$owner/public/genesis.toml")"
    [[ -z $simulation ]] || printf 'simulation_root = """\n%s\n"""\n' "$(<"$owner/public/simulation-root.pem")"
    printf '\n[broker.policy]\n%s\n' "$(<"$owner/public/broker-policy.toml")"
    printf '\n[[secret]]\nname = "nginx_crt"\npath = "fd:10"\n\n[[secret]]\nname = "nginx_key"\npath = "fd:11"\n'
}

install -m 0755 "$binaries/adytum-init" "$context/rootfs/usr/bin/adytum-init"
install -m 0644 "$here/nginx.conf" "$context/rootfs/etc/nginx/adytum.conf"
configuration >"$context/rootfs/etc/adytum/workload.toml"
chmod 0644 "$context/rootfs/etc/adytum/workload.toml"
find "$context" -exec touch --no-dereference --date="@$epoch" {} +

tee=auto
[[ -z $simulation ]] || tee=simulation=http://adytum-sim:8081
name=$registry/any-server:$tag
build_image "$name" "$here/Containerfile" "$context" "$epoch" --build-arg "BASE=$base" --build-arg "TEE=$tee" \
    --label "org.opencontainers.image.version=$tag" \
    --label "org.opencontainers.image.revision=$(source_revision "$root")"
if [[ -n $archives ]]; then
    mkdir -p "$archives"
    save_image "$name" "$archives/any-server.tar"
fi
"$binaries/adytum" measure --configuration "$context/rootfs/etc/adytum/workload.toml" \
    --program "$files/usr/sbin/nginx" --init "$binaries/adytum-init" >"$work/any-server.identity"
echo "$name sha256:$(image_id "$name")"
echo "workload $(<"$work/any-server.identity")"
