#!/bin/sh
# Installs the Debian package on this machine, uses it as its user would, with SoftHSM and the demo's hub,
# and purges it. systemd need not run: systemd-socket-activate hands the socket over.
#   try.sh [FILE.deb]         without a file, `make deb` builds one (minutes)
# Needs root, and a machine that does not have the package: it is left without it again.
set -eu
usage() {
    echo "usage: try.sh [FILE.deb]      installs the package on this machine, uses it, and purges it; as root"
}
case ${1-} in
-h | --help) usage; exit 0 ;;
-*) usage >&2; exit 2 ;;
esac
[ $# -le 1 ] || { usage >&2; exit 2; }
[ $# = 0 ] || [ -f "$1" ] || { printf 'try.sh: there is no package %s\n' "$1" >&2; exit 2; }
# Named from where it was called.
[ $# = 0 ] || case $1 in /*) ;; *) set -- "$PWD/$1" ;; esac
top=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd -- "$top"
target=${CARGO_TARGET_DIR:-$top/target}
case $target in /*) ;; *) target=$top/$target ;; esac
say() { printf '\n== %s\n' "$*"; }
die() { echo "try.sh: $*" >&2; exit 1; }
# $1: what is waited for; the rest: a command that succeeds once it is there.
await() {
    what=$1 tries=0
    shift
    until "$@" 2>/dev/null; do
        tries=$((tries + 1))
        [ "$tries" -lt 200 ] || die "there is no $what"
        sleep 0.1
    done
}

[ "$(id -u)" = 0 ] || die "run it as root: it installs a package"
! dpkg-query -W hsm-mtls >/dev/null 2>&1 || die "hsm-mtls is installed here: this is for a machine to try on"
for folder in /etc/hsm-mtls /var/lib/hsm-mtls /var/log/hsm-mtls; do
    [ ! -e "$folder" ] || die "$folder is there: this is for a machine to try on"
done
for user in hsm-mtls hsm-mtls-front-end; do
    ! getent passwd $user >/dev/null || die "there is a user $user already"
done
demo/install.sh cc=gcc softhsm2-util=softhsm2 /usr/lib/softhsm/libsofthsm2.so=libsofthsm2 curl=curl \
    systemd-socket-activate=systemd adduser=adduser setpriv=util-linux ps=procps
cargo build --locked --quiet --example hub

if [ $# = 0 ]; then
    say "The package is built"
    rm -f "$target"/debian/hsm-mtls_*.deb
    make deb
    set -- "$target"/debian/hsm-mtls_*.deb
fi
deploy/contents.sh "$1"

run=$(mktemp -d)
chmod 755 "$run"
hub= proxy=
leave() {
    [ -z "$proxy" ] || { kill "$proxy" 2>/dev/null && wait "$proxy" 2>/dev/null; } || :
    [ -z "$hub" ] || { exec 9>&-; wait "$hub" 2>/dev/null; } || :
    dpkg --purge hsm-mtls 2>&1 | sed 's/^/    /'
    umount "$run/credentials" 2>/dev/null || :
    # What a purge keeps is kept for a bank. This was a trial.
    rm -rf /etc/hsm-mtls /var/lib/hsm-mtls /var/log/hsm-mtls "$run"
    deluser --quiet --system hsm-mtls 2>/dev/null || :
    deluser --quiet --system hsm-mtls-front-end 2>/dev/null || :
    delgroup --quiet --system hsm-mtls-callers 2>/dev/null || :
}
trap leave EXIT

say "dpkg --install"
dpkg --install "$1" 2>&1 | sed 's/^/    /'
getent passwd hsm-mtls hsm-mtls-front-end
getent group hsm-mtls-callers
stat -c '%A %U:%G %n' /usr/bin/hsm-mtls /etc/hsm-mtls /etc/hsm-mtls/* /var/lib/hsm-mtls /var/log/hsm-mtls

# A process as the service unit has it: its user, no capabilities, nothing to be gained by an exec.
as() {
    user=$1 group=$2 more=$3
    shift 3
    setpriv --reuid="$user" --regid="$group" --groups="$more" --inh-caps=-all --bounding-set=-all --no-new-privs -- "$@"
}
hsm_mtls() {
    printf '$ hsm-mtls %s\n' "$*"
    as hsm-mtls hsm-mtls hsm-mtls env HSM_MTLS_CONFIG=/etc/hsm-mtls/preprod.toml \
        CREDENTIALS_DIRECTORY="$run/credentials" /usr/bin/hsm-mtls "$@"
}
say "The installed command, and the installed configuration"
/usr/bin/hsm-mtls --version
# For root, files of hsm-mtls are another user's.
hsm_mtls config check

say "A token, a hub, and a configuration that names them"
softhsm/up.sh "$run/token" lfi-preprod
# As LoadCredential= puts it there: in memory, of the service's user, who can only read it.
install -d "$run/credentials"
mount -t tmpfs -o size=64k,mode=0700,uid="$(id -u hsm-mtls)" tmpfs "$run/credentials"
credential() {
    mount -o remount,rw "$run/credentials"
    install -o hsm-mtls -g hsm-mtls -m 0400 /dev/stdin "$run/credentials/hsm-pin"
    mount -o remount,ro "$run/credentials"
}
credential <"$run/token/pin"
chown -R hsm-mtls: "$run/token"
"$target/debug/examples/hub" init "$run/hub" --name localhost
mkfifo "$run/stop"
"$target/debug/examples/hub" serve "$run/hub" --port-file "$run/port" <"$run/stop" 2>"$run/hub.log" &
hub=$!
exec 9>"$run/stop"
await "hub" test -s "$run/port"
port=$(cat "$run/port")
install -o hsm-mtls -g hsm-mtls -m 0644 "$run/hub/bundle.pem" /etc/hsm-mtls/tls/tf-sandbox.pem
sed -i -e "/^head /d" -e 's|^module .*|module = "/usr/lib/softhsm/libsofthsm2.so"|' \
    -e "s|^# env = .*|env = { SOFTHSM2_CONF = \"$run/token/softhsm2.conf\" }|" \
    -e 's|^unix = .*|unix = "/var/lib/hsm-mtls/operations.sock"|' /etc/hsm-mtls/preprod.toml
cat >>/etc/hsm-mtls/preprod.toml <<TOML

[hub]
consent_manager   = "https://localhost:$port"
headless_heimdall = "https://localhost:$port"
TOML

say "From an empty token to mutual TLS, as the installed user"
cd /
hsm_mtls key generate >"$run/generate.log" || { cat "$run/generate.log"; exit 1; }
hsm_mtls csr --output /var/lib/hsm-mtls/c3.csr
"$target/debug/examples/hub" issue "$run/hub" /var/lib/hsm-mtls/c3.csr >"$run/issued.pem"
chmod 644 "$run/issued.pem"
hsm_mtls cert install "$run/issued.pem"
hsm_mtls token check

say "The proxy, through socket activation"
socket=$run/hub.sock
as_service() {
    exec systemd-socket-activate --listen="$socket" --fdname=hub \
        --setenv=HSM_MTLS_CONFIG=/etc/hsm-mtls/preprod.toml --setenv=CREDENTIALS_DIRECTORY="$run/credentials" \
        setpriv --reuid=hsm-mtls --regid=hsm-mtls --groups=hsm-mtls --inh-caps=-all --bounding-set=-all --no-new-privs \
        /usr/bin/hsm-mtls proxy
}
as_service >"$run/access.log" 2>"$run/proxy.log" &
proxy=$!
await "socket" test -S "$socket"
chown root:hsm-mtls-callers "$socket"
chmod 0660 "$socket"
callers=$(getent group hsm-mtls-callers | cut -d: -f3)
ask() { curl --silent --show-error --max-time 60 --unix-socket "$socket" "$@"; }

echo "a process of another group:"
if as nobody nogroup nogroup curl --silent --show-error --max-time 5 --unix-socket "$socket" http://localhost/cm/hello-mtls; then
    die "somebody who may not call was answered"
fi
echo "a process of hsm-mtls-callers:"
answer=$(as nobody nogroup "$callers" curl --silent --show-error --max-time 60 --unix-socket "$socket" \
    --write-out '\n%{http_code}\n' http://localhost/cm/hello-mtls) || { cat "$run/proxy.log"; die "no answer"; }
echo "$answer"
[ "$(echo "$answer" | tail -n 1)" = 200 ] || { cat "$run/proxy.log"; die "not 200"; }
grep -q "GET /hello-mtls 200 .*CN=" "$run/hub.log" || die "the hub did not see our certificate: $(cat "$run/hub.log")"
echo "processes, by their user:"
ps -o user:12,pid,ppid,args -u hsm-mtls
curl --silent --unix-socket /var/lib/hsm-mtls/operations.sock http://localhost/readyz
echo

say "SIGTERM"
kill "$proxy"
code=0
wait "$proxy" || code=$?
proxy=
cat "$run/proxy.log" "$run/access.log"
[ "$code" = 0 ] || die "it ended with $code"
grep -q '"path":"/hello-mtls"' "$run/access.log" || die "the access log has no line of it"
hsm_mtls ledger verify

say "Started as root: a user of its own for signer and front end"
# The owners of docs/deploy.md.
chmod 0755 /etc/hsm-mtls /etc/hsm-mtls/tls
install -d /etc/hsm-mtls/trust
install -m 0644 "$run/hub/bundle.pem" /etc/hsm-mtls/trust/tf-sandbox.pem
chown root:hsm-mtls /etc/hsm-mtls/pin
chmod 0750 /etc/hsm-mtls/pin
install -o root -g hsm-mtls -m 0640 "$run/token/pin" /etc/hsm-mtls/pin/hsm-pin
install -d "$run/operations"
sed -e 's|^pin .*|pin = { file = "/etc/hsm-mtls/pin/hsm-pin" }|' \
    -e 's|^anchors .*|anchors = "/etc/hsm-mtls/trust/tf-sandbox.pem"|' \
    -e "s|^unix = .*|unix = \"$run/operations/operations.sock\"|" \
    -e 's|^\[proxy\]|[signer]\nuser = "hsm-mtls"\n\n[proxy]\nuser = "hsm-mtls-front-end"|' \
    /etc/hsm-mtls/preprod.toml >"$run/as-root.toml"
install -m 0600 "$run/as-root.toml" /etc/hsm-mtls/as-root.toml
/usr/bin/hsm-mtls config check /etc/hsm-mtls/as-root.toml
echo "a PIN that the signer could not read:"
chmod 0600 /etc/hsm-mtls/pin/hsm-pin
! /usr/bin/hsm-mtls config check /etc/hsm-mtls/as-root.toml || die "the mode of the PIN file was not seen"
chmod 0640 /etc/hsm-mtls/pin/hsm-pin
rm -f "$socket"
# As root-start.conf has it: root, with what changes users and sends them signals.
systemd-socket-activate --listen="$socket" --fdname=hub --setenv=HSM_MTLS_CONFIG=/etc/hsm-mtls/as-root.toml \
    setpriv --inh-caps=-all --bounding-set=-all,+setuid,+setgid,+kill --no-new-privs \
    /usr/bin/hsm-mtls proxy >"$run/access.log" 2>"$run/proxy.log" &
proxy=$!
await "socket" test -S "$socket"
ask --fail --output /dev/null http://localhost/cm/hello-mtls || { cat "$run/proxy.log"; die "no answer"; }
three_users() {
    [ "$(ps -o user:20= -p "$proxy")" = root ] || die "the supervisor is not root"
    for pair in "hsm-mtls signer" "hsm-mtls-front-end front-end"; do
        user=${pair% *} process=${pair#* }
        pid=$(pgrep -u "$user" -f "as-root.toml $process\$") || { cat "$run/proxy.log"; die "$user has no process"; }
        for line in "$(grep '^Uid:' "/proc/$pid/status")" "$(grep '^Gid:' "/proc/$pid/status")"; do
            id=$(id -u "$user")
            case $line in Gid:*) id=$(id -g "$user") ;; esac
            [ "$(echo "$line" | cut -f2-)" = "$(printf '%s\t%s\t%s\t%s' "$id" "$id" "$id" "$id")" ] || die "$pid: $line"
        done
        grep -q '^CapEff:.0000000000000000$' "/proc/$pid/status" || die "$process has capabilities"
    done
    [ "$(pgrep -c -f "as-root.toml (signer|front-end)\$")" = 2 ] || die "a process too many"
}
three_users
ps -o user:20,pid,ppid,args -p "$proxy,$(pgrep -d, -f "as-root.toml (process-launcher|signer|front-end)\$")"
echo "the PIN, for the user of the front end:"
! as hsm-mtls-front-end hsm-mtls-front-end hsm-mtls-front-end cat /etc/hsm-mtls/pin/hsm-pin || die "it could read the PIN"
echo "a reload:"
kill -HUP "$proxy"
reloaded() { curl --silent --unix-socket "$run/operations/operations.sock" http://localhost/metrics |
    grep -q '^hsm_mtls_proxy_reloads_total{.*result="good".*} 1'; }
await "reload" reloaded
one_signer() { [ "$(pgrep -c -u hsm-mtls -f 'as-root.toml signer$')" = 1 ]; }
await "end of the signer before" one_signer
three_users
ask --fail --output /dev/null http://localhost/cm/hello-mtls || { cat "$run/proxy.log"; die "no answer after the reload"; }
kill "$proxy"
code=0
wait "$proxy" || code=$?
proxy=
cat "$run/proxy.log"
[ "$code" = 0 ] || die "it ended with $code"
# What has ended, init may not have been told yet.
for user in hsm-mtls hsm-mtls-front-end; do
    ! ps -o stat=,pid=,args= -u $user | grep -v '^Z' || die "a process of $user is left"
done
stat -c '%A %U:%G %n' /etc/hsm-mtls /etc/hsm-mtls/*.toml /etc/hsm-mtls/*/ /etc/hsm-mtls/pin/* /var/lib/hsm-mtls \
    /var/lib/hsm-mtls/* /var/log/hsm-mtls /var/log/hsm-mtls/*
hsm_mtls ledger verify
rm -f /etc/hsm-mtls/as-root.toml

say "A PIN that is refused ends the proxy with 4, and is not sent again by the next start"
printf 'not the PIN' | credential
logins() { grep -c '"kind":"login"' /var/log/hsm-mtls/ledger.jsonl; }
before=$(logins)
for start in first second; do
    rm -f "$socket"
    as_service >/dev/null 2>"$run/proxy.log" &
    proxy=$!
    await "socket" test -S "$socket"
    ask http://localhost/cm/hello-mtls >/dev/null 2>&1 || :
    code=0
    wait "$proxy" || code=$?
    proxy=
    echo "$start start: exit code $code: $(grep -m 1 "^error" "$run/proxy.log")"
    [ "$code" = 4 ] || { cat "$run/proxy.log"; die "4 is what keeps systemd from restarting it"; }
done
tries=$(($(logins) - before))
echo "PIN tries: $tries"
[ "$tries" = 1 ] || die "one try was to be made"

say "dpkg --purge"
dpkg --purge hsm-mtls 2>&1 | sed 's/^/    /'
[ ! -e /usr/bin/hsm-mtls ] && [ ! -e /usr/lib/systemd/system/hsm-mtls-proxy.service ] &&
    [ ! -e /etc/hsm-mtls/preprod.toml ] || die "the purge left files of the package"
[ -s /var/log/hsm-mtls/ledger.jsonl ] || die "the purge removed the ledger"
echo "the package is gone; the ledger, the memory of refused PINs and the certificate stay"
trap - EXIT
proxy=
leave >/dev/null 2>&1

say "Done: installed, used and purged"
