# shellcheck shell=bash
# The container engine at hand: docker, podman or buildah. Sourced by build.sh.

# Sets `engine`. An engine counts only if it works: a docker client without its
# daemon builds nothing.
find_engine() {
    local candidate reason idle=()
    for candidate in ${ADYTUM_ENGINE:-docker podman buildah}; do
        case $candidate in
            docker | podman | buildah) ;;
            *)
                echo "build.sh: ADYTUM_ENGINE is '$candidate'; it may be docker, podman or buildah" >&2
                return 1
                ;;
        esac
        command -v "$candidate" >/dev/null || continue
        if reason=$(engine_works "$candidate"); then
            # Overlay mounts are not to be had everywhere; plain copies are.
            [[ -z $reason ]] || export STORAGE_DRIVER=$reason
            engine=$candidate
            return
        fi
        idle+=("$candidate is installed but does not work: ${reason:-it gave no reason}")
    done
    if ((${#idle[@]})); then
        printf 'build.sh: %s\n' "${idle[@]}" >&2
        echo "build.sh: start it (docker: its daemon, 'systemctl start docker'), or install buildah, which needs no daemon" >&2
    else
        echo "build.sh: no container engine: install docker, podman or buildah (Debian: apt-get install buildah)" >&2
    fi
    return 1
}

# engine_works ENGINE: prints the storage driver that it needs, if not its own; or
# fails and prints the last line of what the engine said.
engine_works() {
    local said
    case $1 in
        docker) said=$(docker version --format '{{.Server.Version}}' 2>&1) && return ;;
        podman) said=$(podman info 2>&1) && return ;;
        buildah)
            buildah info >/dev/null 2>&1 && return
            said=$(STORAGE_DRIVER=vfs buildah info 2>&1) && echo vfs && return
            ;;
    esac
    tail -n 1 <<<"$said"
    return 1
}

# build_image NAME CONTAINERFILE CONTEXT EPOCH [OPTION...]
# Every date in the image is EPOCH, and nothing says where or with what it was
# built, so that equal inputs give an equal image. Nothing comes out of a cache:
# there it would still have the date of the commit that it was built for first.
build_image() {
    local name=$1 file=$2 context=$3 epoch=$4
    shift 4
    case $engine in
        docker)
            # Without a statement of the build, which names this machine; older clients know none.
            local statement=()
            # grep reads to the end: a client that is cut off fails, and with it the pipe.
            ! docker build --help 2>/dev/null | grep -- --provenance >/dev/null || statement=(--provenance=false)
            DOCKER_BUILDKIT=1 docker build --quiet --no-cache "${statement[@]}" --build-arg "SOURCE_DATE_EPOCH=$epoch" \
                --file "$file" --tag "$name" "$@" "$context" >/dev/null
            ;;
        podman)
            podman build --quiet --no-cache --layers=false --timestamp "$epoch" --identity-label=false --isolation=chroot \
                --file "$file" --tag "$name" "$@" "$context" >/dev/null
            ;;
        buildah)
            buildah build --quiet --timestamp "$epoch" --identity-label=false --isolation=chroot \
                --file "$file" --tag "$name" "$@" "$context" >/dev/null
            ;;
    esac
}

# save_image NAME FILE: as `docker save` writes it; `docker load`, `podman load`
# and `ctr images import` read it.
save_image() {
    rm -f "$2"
    case $engine in
        docker) docker save --output "$2" "$1" ;;
        podman) podman save --quiet --format docker-archive --output "$2" "$1" ;;
        buildah) buildah push --quiet "$1" "docker-archive:$2:$1" ;;
    esac
}

# The image's id: the digest of its configuration, which names the digests of its
# layers. Unlike the digest of a manifest it does not depend on compression.
image_id() {
    local id
    case $engine in
        docker) id=$(docker image inspect --format '{{.Id}}' "$1") ;;
        podman) id=$(podman image inspect --format '{{.Id}}' "$1") ;;
        buildah) id=$(buildah inspect --type image --format '{{.FromImageID}}' "$1") ;;
    esac
    echo "${id#sha256:}"
}
