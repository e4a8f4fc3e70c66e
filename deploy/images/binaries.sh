# shellcheck shell=bash
# Static binaries for the images. Sourced by build.sh.

# Where the date of everything comes from: the commit.
source_date() {
    git -C "$1" log -1 --format=%ct 2>/dev/null || echo 0
}

# What the binaries were built from; "-changed" if that is no commit.
source_revision() {
    git -C "$1" describe --always --abbrev=40 --dirty=-changed --match='' 2>/dev/null || echo unknown
}

# The version of the workspace, which is the tag of its images.
source_version() {
    sed -n 's/^version = "\(.*\)"$/\1/p' "$1/Cargo.toml" | sed -n 1p
}

# build_binaries SOURCE TARGET_DIRECTORY OUT [simulation]
# Copies to OUT the programs, built from SOURCE. No path of this machine, no date of it
# and no order of its files gets into them. The date of the commit (`epoch`) does: no
# program believes a clock that is before it. `build_triple` may name another processor's target,
# for which rustup's standard library and Debian's cross compiler must be there.
build_binaries() {
    local source=$1 target_directory=$2 out=$3 simulation=${4:-}
    local triple cargo_home flags
    triple=${build_triple:-$(rustc -vV | sed -n 's/^host: //p')}
    cargo_home=${CARGO_HOME:-$HOME/.cargo}
    flags=(
        -C target-feature=+crt-static
        "--remap-path-prefix=$source=/adytum"
        "--remap-path-prefix=$target_directory=/target"
        "--remap-path-prefix=$cargo_home=/cargo"
    )
    local packages=(adytum adytum-broker adytum-init adytum-serving) features=(--no-default-features --features adytum/object-stores)
    if [[ -n $simulation ]]; then
        packages+=(adytum-sim)
        features=()
    fi
    (
        cd "$source"
        if [[ $triple == aarch64-unknown-linux-gnu && $(uname -m) != aarch64 ]]; then
            export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
            export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
        fi
        # With --target the flags are for the programs only, not for what the build runs.
        CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && echo "${flags[*]}") \
            CFLAGS="-ffile-prefix-map=$target_directory=/target -ffile-prefix-map=$cargo_home=/cargo" \
            CARGO_INCREMENTAL=0 SOURCE_DATE_EPOCH=${epoch:-0} \
            cargo build --locked --profile image --target "$triple" --target-dir "$target_directory" \
            "${features[@]}" "${packages[@]/#/--package=}" --bins
    )
    mkdir -p "$out"
    local package
    for package in "${packages[@]}"; do
        install -m 0755 "$target_directory/$triple/image/$package" "$out/$package"
        # Nothing is there to load a library from.
        if ldd "$out/$package" 2>/dev/null | grep '\.so' >/dev/null; then
            echo "build.sh: $package is not static" >&2
            return 1
        fi
    done
}

# write_sbom PACKAGE OUT SIMULATION [OPTION...]: SIMULATION may be empty.
write_sbom() {
    local features=() triple
    [[ $1 != adytum ]] || features=(--feature object-stores)
    triple=$(rustc -vV | sed -n 's/^host: //p')
    [[ -z ${3:-} || $1 == adytum-sim ]] || features+=(--feature simulation)
    cargo xtask image sbom --package "$1" "${features[@]}" --target "$triple" --out "$2" \
        --linked "rust-std=$(rustc -V | cut -d' ' -f2)=MIT OR Apache-2.0" \
        --linked "glibc=$(getconf GNU_LIBC_VERSION | cut -d' ' -f2)=LGPL-2.1-or-later" "${@:4}"
}
