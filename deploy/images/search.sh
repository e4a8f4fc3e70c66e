# shellcheck shell=bash
# Looks for secrets in the archives of images; to be sourced.

# search_images ADYTUM OWNER ARCHIVE...: fails if an archive holds a secret or a plain model of the
# owner's directory, and also if it is not known what to look for.
search_images() {
    local adytum=$1 owner=$2 sources plain
    shift 2
    # `set -e` is off in here when this is called in a condition.
    sources=$("$adytum" deployment status --owner-directory "$owner" --sources) || return 1
    if [[ -z $sources ]]; then
        echo "search.sh: $owner names no model, so plain models can't be looked for" >&2
        return 1
    fi
    mapfile -t plain <<<"$sources"
    cargo xtask image search --secrets "$owner/private" "${plain[@]/#/--model=}" "$@"
}
