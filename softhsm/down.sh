#!/bin/sh
# Removes what up.sh made: the tokens, their keys and their PIN.
set -eu
usage() {
    cat <<'TEXT'
usage: down.sh [FOLDER]
  Removes the SoftHSM2 tokens that up.sh made in FOLDER (softhsm/run), with their keys, configuration and PIN. What
  else lies there stays, but for the default folder, which is up.sh's own.
TEXT
}
case ${1-} in
-h | --help) usage; exit 0 ;;
--) shift ;;
-*) printf 'down.sh: there is no option %s\n' "$1" >&2; usage >&2; exit 2 ;;
esac
[ $# -le 1 ] || { usage >&2; exit 2; }

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
run=${1:-$here/run}
case $run in -*) run=./$run ;; esac
# Only what up.sh made is removed.
if ! { [ -d "$run/tokens" ] && grep -q '^# Rendered by up.sh' "$run/softhsm2.conf" 2>/dev/null; }; then
    printf 'nothing of up.sh is in %s\n' "$run"
    exit 0
fi
if [ "$run" = "$here/run" ]; then
    rm -rf -- "$run"
else
    rm -rf -- "$run/tokens" "$run/softhsm2.conf" "$run/pin" "$run/so-pin"
    rmdir -- "$run" 2>/dev/null || {
        printf 'removed the tokens of %s; other files are left in it\n' "$run"
        exit 0
    }
fi
printf 'removed %s\n' "$run"
