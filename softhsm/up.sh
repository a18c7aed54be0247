#!/bin/sh
# SoftHSM2 tokens of our own, for hsm-config/softhsm.toml: tokens, configuration and PIN lie in one folder,
# and no other token of this machine is looked at.
set -eu
usage() {
    cat <<'TEXT'
usage: up.sh [FOLDER [LABEL]]
  Makes a SoftHSM2 token LABEL (lfi-preprod) in FOLDER (softhsm/run), with its configuration (softhsm2.conf) and
  its PIN (pin). Where the token is there already, nothing is changed. A further LABEL is a further token with the
  same PIN. softhsm/down.sh removes them all.
TEXT
}
die() { printf 'up.sh: %s\n' "$*" >&2; exit 1; }
case ${1-} in
-h | --help) usage; exit 0 ;;
--) shift ;;
-*) printf 'up.sh: there is no option %s\n' "$1" >&2; usage >&2; exit 2 ;;
esac
[ $# -le 2 ] || { usage >&2; exit 2; }

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
run=${1:-$here/run}
case $run in /*) ;; *) run=$PWD/$run ;; esac
label=${2-lfi-preprod}
newline='
'
case $label in
'' | *[[:cntrl:]]*) die "a label has 1 to 32 characters that can be printed" ;;
esac
[ "$(printf '%s' "$label" | wc -c)" -le 32 ] || die "the label $label has more than the 32 bytes that PKCS#11 keeps"
case $run in
*'#'* | *=* | *"$newline"*)
    die "SoftHSM cannot be told of a folder with #, = or a line break in its name: $run" ;;
esac
command -v softhsm2-util >/dev/null || die "softhsm2-util is missing: apt-get install softhsm2"

umask 077
# What was made elsewhere is not written over.
if [ -e "$run/softhsm2.conf" ] && ! grep -q '^# Rendered by up.sh' "$run/softhsm2.conf"; then
    die "$run/softhsm2.conf is not of up.sh: give another folder"
fi
mkdir -p -- "$run/tokens" || exit 1
run=$(CDPATH='' cd -- "$run" && pwd)
# Not with sed: to it, some of what a path may hold means something.
while IFS= read -r line; do
    case $line in
    *@RUN@*) printf '%s%s%s\n' "${line%%@RUN@*}" "$run" "${line#*@RUN@}" ;;
    *) printf '%s\n' "$line" ;;
    esac
done <"$here/softhsm2.conf.in" >"$run/softhsm2.conf.new"
mv -- "$run/softhsm2.conf.new" "$run/softhsm2.conf"
export SOFTHSM2_CONF="$run/softhsm2.conf"

slots=$(softhsm2-util --show-slots) || die "SoftHSM does not read $SOFTHSM2_CONF"
if printf '%s\n' "$slots" | sed -n 's/^ *Label: *//p' | sed 's/ *$//' | grep -Fxq -e "$label"; then
    [ -s "$run/pin" ] || die "token $label is there, but its PIN ($run/pin) is not: softhsm/down.sh removes the token"
    printf 'token %s is there already (%s)\n' "$label" "$run"
    exit 0
fi
# Random, and in a file that only its owner can read. What is there already stays: tokens that were made before have
# it. softhsm2-util takes PINs on its command line only; for a throw-away token that is good enough, for an HSM it
# would not be.
secret() {
    [ ! -s "$1" ] || return 0
    od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$1.new"
    mv -- "$1.new" "$1"
}
secret "$run/pin"
secret "$run/so-pin"
softhsm2-util --init-token --free --label="$label" --pin="$(cat -- "$run/pin")" --so-pin="$(cat -- "$run/so-pin")" \
    >/dev/null || die "softhsm2-util made no token $label in $run"
printf 'token %s is made in %s; its PIN is in %s/pin\n' "$label" "$run" "$run"
