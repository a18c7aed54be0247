#!/bin/sh
# Bodies that are refused before they are read, sent with curl. Arguments: base, "path=status ...", sizes.
set -eu
base=$1 asks=$2
shift 2
body=$(mktemp)
trap 'rm -f "$body"' EXIT
for ask in $asks; do
    for size in "$@"; do
        head -c "$size" /dev/zero >"$body"
        for how in fixed chunked; do
            set_how=-s
            [ $how = fixed ] || set_how='-HTransfer-Encoding: chunked'
            case $base in
            unix:*) code=$(curl -sS --max-time 60 -o /dev/null -w '%{http_code}' "$set_how" -H 'Expect:' \
                --unix-socket "${base#unix:}" --data-binary "@$body" "http://localhost${ask%=*}") ;;
            *) code=$(curl -sS --max-time 60 -o /dev/null -w '%{http_code}' "$set_how" -H 'Expect:' \
                --data-binary "@$body" "$base${ask%=*}") ;;
            esac
            echo "${ask%=*} $size $how $code"
        done
    done
done
