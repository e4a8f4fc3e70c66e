# shellcheck shell=bash
# ONNX Runtime as the engine of the model server: a program that is linked dynamically, the
# libraries that it and ONNX Runtime load, and the part of the measured configuration that pins
# them. Sourced by build.sh.

# Where the library is in the image.
onnxruntime_directory=/usr/lib/onnxruntime

# build_dynamic_serving SOURCE TARGET_DIRECTORY OUT [simulation]
# Copies to OUT the model server with ONNX Runtime as an engine. As in build_binaries, nothing of
# this machine gets into it.
build_dynamic_serving() {
    local source=$1 target_directory=$2 out=$3 simulation=${4:-}
    local triple cargo_home flags features=(--no-default-features)
    triple=$(rustc -vV | sed -n 's/^host: //p')
    cargo_home=${CARGO_HOME:-$HOME/.cargo}
    flags=(
        -C target-feature=-crt-static
        "--remap-path-prefix=$source=/adytum"
        "--remap-path-prefix=$target_directory=/target"
        "--remap-path-prefix=$cargo_home=/cargo"
    )
    [[ -z $simulation ]] || features=()
    (
        cd "$source"
        CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && echo "${flags[*]}") \
            CFLAGS="-ffile-prefix-map=$target_directory=/target -ffile-prefix-map=$cargo_home=/cargo" \
            CARGO_INCREMENTAL=0 \
            cargo build --locked --profile image --target "$triple" --target-dir "$target_directory/dynamic" \
            "${features[@]}" --features onnxruntime --package adytum-serving --bins
    )
    install -m 0755 "$target_directory/dynamic/$triple/image/adytum-serving" "$out/adytum-serving"
}

# needed_libraries FILE...: the paths of all libraries that the loader takes for these files, and
# of the loader itself, each once.
needed_libraries() {
    local file
    for file in "$@"; do
        ldd "$file"
    done | grep -o '/[^ ]*' | grep -v ':$' | sort -u
}

# put_onnxruntime LIBRARY PROGRAM SERVING: puts ONNX Runtime, and what it and the model server
# load, into the files of an image.
put_onnxruntime() {
    local library=$1 program=$2 serving=$3 path documents
    documents=$program/usr/share/doc/onnxruntime
    mkdir -p "$program$onnxruntime_directory" "$documents"
    install -m 0755 "$library" "$program$onnxruntime_directory/${library##*/}"
    install -m 0644 "${library%/*}/LICENSE" "${library%/*}/ThirdPartyNotices.txt" "$documents/"
    while read -r path; do
        mkdir -p "$program${path%/*}"
        install -m 0755 "$path" "$program$path"
    done < <(needed_libraries "$serving" "$library")
}

# pin_onnxruntime LIBRARY SERVING: prints the tables of the measured configuration.
pin_onnxruntime() {
    local library=$1 serving=$2 path
    printf '[onnxruntime]\nlibrary = "%s"\nsha256 = "%s"\n' "$onnxruntime_directory/${library##*/}" \
        "$(sha256sum "$library" | cut -d' ' -f1)"
    while read -r path; do
        printf '\n[[library]]\npath = "%s"\nsha256 = "%s"\n' "$path" "$(sha256sum "$path" | cut -d' ' -f1)"
    done < <(needed_libraries "$serving" "$library")
}
