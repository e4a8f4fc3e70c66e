# shellcheck shell=bash
# Container images from scratch: one static program, nothing else.

# scratch_image NAME PROGRAM ARCHIVE: write an image archive in the format of
# `docker save`. It needs no container engine.
scratch_image() {
    local name=$1 program=$2 archive=$3 work layer_digest architecture file
    file=$(basename "$program")
    case $(uname -m) in
        x86_64) architecture=amd64 ;;
        aarch64) architecture=arm64 ;;
        *) fail "no name for the architecture $(uname -m) in images" ;;
    esac
    work=$(mktemp -d)
    mkdir "$work/content" "$work/image"
    cp "$program" "$work/content/$file"
    deterministic_tar "$work/content" "$work/image/layer.tar"
    layer_digest=$(sha256sum "$work/image/layer.tar" | cut -d' ' -f1)
    cat >"$work/image/config.json" <<END
{"architecture":"$architecture","os":"linux","created":"1970-01-01T00:00:00Z",
 "config":{"Entrypoint":["/$file"],"WorkingDir":"/"},
 "rootfs":{"type":"layers","diff_ids":["sha256:$layer_digest"]},
 "history":[{"created":"1970-01-01T00:00:00Z","created_by":"tests/kubernetes"}]}
END
    cat >"$work/image/manifest.json" <<END
[{"Config":"config.json","RepoTags":["$name"],"Layers":["layer.tar"]}]
END
    deterministic_tar "$work/image" "$archive"
    rm -rf "$work"
}

deterministic_tar() {
    tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$1" -cf "$2" .
}
