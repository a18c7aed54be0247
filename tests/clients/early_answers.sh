#!/bin/sh
# Bodies that are refused before they are read, sent with curl. Arguments: base, "path=status ...", sizes.
set -eu
base=$1 asks=$2
shift 2
body=$(mktemp)
trap 'rm -f "$body"' EXIT

call() {
    path=$1
    shift
    case $base in
    unix:*) set -- "$@" --unix-socket "${base#unix:}" "http://localhost$path" ;;
    *) set -- "$@" "$base$path" ;;
    esac
    curl -sS --max-time 60 -o /dev/null -w '%{http_code}\n' --data-binary "@$body" "$@"
}

for ask in $asks; do
    path=${ask%=*}
    for size in "$@"; do
        head -c "$size" /dev/zero >"$body"
        # By itself it asks before it sends much (Expect: 100-continue).
        echo "$path $size fixed $(call "$path")"
        echo "$path $size chunked $(call "$path" -H 'Expect:' -H 'Transfer-Encoding: chunked')"
    done
done
