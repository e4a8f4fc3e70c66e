#!/usr/bin/env bash
# Builds the pages as a book, with search, in target/book. It needs mdBook: cargo install mdbook.
#
# The pages link to others at the root, such as ARCHITECTURE.md. A book has only what is in its source directory, so those are
# copied next to the pages, and links to them and to other files of the repository are adapted.
#
#   docs/book.sh          build it
#   docs/book.sh serve    build it, and show it at http://localhost:3000
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
command -v mdbook >/dev/null || {
    echo "book.sh: no mdbook; install it with: cargo install mdbook" >&2
    exit 1
}

source=target/book-source
rm -rf "$source"
mkdir -p "$source"
cp -r docs "$source/docs"
rm "$source/docs/book.sh"
sed 's|^build-dir = .*|build-dir = "../book"|' book.toml >"$source/book.toml"

# Pages of the root, and those of the examples.
roots=(ARCHITECTURE SECURITY CONTRIBUTING CHANGELOG RELEASING)
for page in "${roots[@]}"; do
    sed -E -e 's#\]\(docs/#](#g' -e 's#\]\(examples/([a-z0-9]+)/README\.md#](example-\1.md#g' \
        -e 's#\[([^]]+)\]\((tests|examples)/[^)]*\)#`\1`#g' "$page.md" >"$source/docs/$page.md"
done
for page in examples/*/README.md; do
    name=$(basename "$(dirname "$page")")
    sed -E -e 's#\]\(\.\./\.\./docs/#](#g' -e 's#\[([^]]+)\]\([a-z]+\.(py|conf)\)#`\1`#g' "$page" >"$source/docs/example-$name.md"
done
{
    cat docs/SUMMARY.md
    printf '\n# Examples\n\n'
    for page in "$source"/docs/example-*.md; do
        printf -- '- [%s](%s)\n' "$(sed -n 's/^# //p' "$page" | sed -n 1p)" "$(basename "$page")"
    done
    printf '\n# The project\n\n'
    for page in "${roots[@]}"; do printf -- '- [%s](%s.md)\n' "$(sed -n 's/^# //p' "$page.md" | sed -n 1p)" "$page"; done
} >"$source/docs/SUMMARY.md"

# Links to pages that are in the book now; other files of the repository are named without a link. Commands that
# readers do not see stay out of the search.
shopt -s globstar
for page in "$source"/docs/**/*.md; do
    sed -i -E -e 's#\]\(\.\./(ARCHITECTURE|SECURITY|CONTRIBUTING|CHANGELOG|RELEASING)\.md#](\1.md#g' \
        -e 's#\]\(\.\./examples/([a-z0-9]+)/README\.md#](example-\1.md#g' \
        -e 's#\[([^]]+)\]\(\.\./[^)]*\)#`\1`#g' \
        -e '/^<!-- sh run$/,/^-->$/d' "$page"
done
mdbook "${1:-build}" "$source"
