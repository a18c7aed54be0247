#!/bin/sh
# Removes what up.sh made: the token, its keys and its PIN.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
run=${1:-$here/run}
# Only a folder that up.sh made is removed.
if [ -e "$run/softhsm2.conf" ] && [ -d "$run/tokens" ]; then
    rm -rf "$run"
    echo "removed $run"
fi
