#!/bin/sh
# Installs the Debian packages that are named and missing, and says so first.
#   install.sh COMMAND-OR-FILE=PACKAGE ...
set -eu
usage() { echo "usage: install.sh COMMAND-OR-FILE=PACKAGE ...      installs the packages whose command or file is missing"; }
case ${1-} in
-h | --help) usage; exit 0 ;;
esac
for want; do
    case $want in
    ?*=?*) ;;
    *) printf 'install.sh: %s is not COMMAND-OR-FILE=PACKAGE\n' "$want" >&2; usage >&2; exit 2 ;;
    esac
done
missing=
for want; do
    probe=${want%%=*} package=${want#*=}
    case $probe in
    /*) ls $probe >/dev/null 2>&1 && continue ;;
    *) PATH=$PATH:/usr/sbin:/sbin command -v "$probe" >/dev/null && continue ;;
    esac
    missing="$missing $package"
done
[ -n "$missing" ] || exit 0
echo "installing what is missing:$missing"
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! { $sudo apt-get update && $sudo apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
    cat "$log" >&2
    echo "could not install:$missing" >&2
    exit 1
fi
rm -f "$log"
