#!/bin/sh
# Fetches the browser libraries by npm into NAME-VERSION folders and writes SHA256SUMS; run by `make vendor`.
set -eu
cd "$(dirname "$0")"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

take() {  # take NAME VERSION FILE...
    name=$1 version=$2
    shift 2
    archive=$(cd "$scratch" && npm pack --silent "$name@$version")
    mkdir -p "$scratch/$name" "$name-$version"
    tar xzf "$scratch/$archive" -C "$scratch/$name" --strip-components=1
    for file in "$@" LICENSE LICENSE.md LICENSE.txt; do
        [ -e "$scratch/$name/$file" ] || continue
        cp -r "$scratch/$name/$file" "$name-$version/"
    done
}

rm -rf ./*-[0-9]*
take bootstrap 5.3.9 dist/css/bootstrap.min.css dist/js/bootstrap.bundle.min.js
take bootstrap-icons 1.13.2 font/bootstrap-icons.min.css font/fonts
take openseadragon 6.1.1 build/openseadragon/openseadragon.min.js build/openseadragon/images
take chart.js 4.6.1 dist/chart.umd.min.js
take tus-js-client 4.3.1 dist/tus.min.js
# Source maps are not shipped; a reference to one would fail collectstatic.
find . -name '*.js' -o -name '*.css' | xargs sed -i -E 's,(//|/\*)# sourceMappingURL=[^*]*(\*/)?$,,'
find . -type f -path './*-[0-9]*' | sort | xargs sha256sum > SHA256SUMS
