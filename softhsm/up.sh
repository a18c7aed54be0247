#!/bin/sh
# A SoftHSM2 token of our own, for hsm-config/softhsm.toml: tokens, configuration and PIN lie in one
# folder (softhsm/run, or the argument), and no other token of this machine is looked at.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
run=${1:-$here/run}
label=${2:-lfi-preprod}

command -v softhsm2-util >/dev/null || {
    echo "softhsm2-util is missing: apt-get install softhsm2" >&2
    exit 1
}
umask 077
mkdir -p "$run/tokens"
run=$(cd "$run" && pwd)
sed "s|@RUN@|$run|" "$here/softhsm2.conf.in" >"$run/softhsm2.conf"
export SOFTHSM2_CONF="$run/softhsm2.conf"

if softhsm2-util --show-slots | grep -q "Label: *$label *\$"; then
    echo "token $label is there already ($run)"
    exit 0
fi
# Random, and in a file that only its owner can read. softhsm2-util takes PINs on its command line
# only; for a throw-away token that is good enough, for an HSM it would not be.
random() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }
random >"$run/pin"
random >"$run/so-pin"
softhsm2-util --init-token --free --label "$label" --pin "$(cat "$run/pin")" --so-pin "$(cat "$run/so-pin")" >/dev/null
echo "token $label is made in $run; its PIN is in $run/pin"
