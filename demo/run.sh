#!/bin/sh
# The whole path on this machine: an empty SoftHSM2 token, a local Trust Framework and hub, and the
# real command. Everything it makes lies in demo/run, which the next run begins by removing.
set -eu
usage() { echo "usage: demo/run.sh      shows the whole path; \`make demo\` builds what it takes, then runs it"; }
case ${1-} in
-h | --help) usage; exit 0 ;;
esac
[ $# = 0 ] || { usage >&2; exit 2; }
top=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
run=$top/demo/run
target=${CARGO_TARGET_DIR:-$top/target}
case $target in /*) ;; *) target=$top/$target ;; esac
bin=$target/debug
cd -- "$top"
for program in hsm-mtls examples/hub examples/hello_hub examples/thief; do
    [ -x "$bin/$program" ] || { echo "run.sh: $bin/$program is not built: make demo" >&2; exit 1; }
done

if [ -t 1 ]; then bold=$(printf '\033[1m') dim=$(printf '\033[2m') plain=$(printf '\033[0m'); else bold= dim= plain=; fi
say() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
# Shows a command as its user would type it, then runs it.
show() { printf '%s$ %s%s\n' "$dim" "$*" "$plain"; "$@"; }
hsm_mtls() { printf '%s$ hsm-mtls %s%s\n' "$dim" "$*" "$plain"; "$bin/hsm-mtls" "$@"; }

rm -rf "$run"
mkdir -p "$run/tls" "$run/ledger"

say "1. An empty token, in a folder of its own"
show softhsm/up.sh "$run/token" lfi-demo

say "2. A Trust Framework and a hub to talk to (toys; nothing of them is in the product)"
"$bin/examples/hub" init "$run/hub" --name localhost --name 127.0.0.1
mkfifo "$run/stop"
"$bin/examples/hub" serve "$run/hub" --port-file "$run/port" <"$run/stop" 2>"$run/hub.log" &
hub=$!
# The hub serves for as long as this end of the pipe is open.
exec 9>"$run/stop"
proxy=
trap 'exec 9>&-; [ -z "$proxy" ] || kill "$proxy" 2>/dev/null || :; kill "$hub" 2>/dev/null || :; wait "$hub" 2>/dev/null || :' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
tries=0
until [ -s "$run/port" ]; do
    kill -0 "$hub" 2>/dev/null || { cat "$run/hub.log" >&2; exit 1; }
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || { echo "the hub did not start" >&2; exit 1; }
    sleep 0.1
done
port=$(cat "$run/port")
echo "hub on 127.0.0.1:$port"

cat >"$run/demo.toml" <<TOML
environment = "preprod"
lfi_code    = "mybank"

[[token]]
module = "/usr/lib/softhsm/libsofthsm2.so"
uri    = "pkcs11:token=lfi-demo"
pin    = { file = "token/pin" }
env    = { SOFTHSM2_CONF = "{config_dir}/token/softhsm2.conf" }
state_dir = "state"

[c3]
key         = "pkcs11:object=c3;type=private"
certificate = "tls/c3.pem"

[c3.subject]
organization        = "Demo Bank, \"A\" & Söhne P.J.S.C."
organizational_unit = "b0a6f9ad-3c5d-4f0e-9a57-1d2f6a1c7e10"
common_name         = "5d1c2e0b-7a4f-4b8e-8f63-2c9e1b7d4a55"

[trust]
mode    = "trust-framework"
anchors = "hub/bundle.pem"

[hub]
consent_manager   = "https://localhost:$port"
headless_heimdall = "https://127.0.0.1:$port"

[ledger]
file  = "ledger/ledger.jsonl"
fsync = "interval"

[proxy]
access_log = "off"
# A demo has one user, to whom all files belong: docs/deploy.md says how a service does without this.
accept_same_user = true

[[proxy.listener]]
unix = "hub.sock"
TOML
export HSM_MTLS_CONFIG=demo/run/demo.toml
printf '%s$ export HSM_MTLS_CONFIG=%s%s\n' "$dim" "$HSM_MTLS_CONFIG" "$plain"

say "3. What the configuration means"
hsm_mtls config check

say "4. The C3 key, made inside the token"
hsm_mtls key generate

say "5. A certificate request, signed inside the token"
hsm_mtls csr --output demo/run/c3.csr

say "6. The Trust Framework issues the certificate"
printf '%s$ hub issue demo/run/hub demo/run/c3.csr > demo/run/issued.pem%s\n' "$dim" "$plain"
"$bin/examples/hub" issue "$run/hub" "$run/c3.csr" >"$run/issued.pem"
hsm_mtls cert install demo/run/issued.pem

say "7. Every step from the module to a verified signature"
hsm_mtls token check

say "8. Mutual TLS with Consent Manager and Headless Heimdall"
hsm_mtls verify --evidence demo/run/evidence.json

say "9. A call, and a redirect that is handed back and not followed"
hsm_mtls request GET cm:/consents/1
echo
hsm_mtls request -i GET 'hh:/auth?client_id=demo'

say "10. An application that speaks plain HTTP, through the local proxy"
printf '%s$ hsm-mtls proxy &%s\n' "$dim" "$plain"
"$bin/hsm-mtls" proxy 2>"$run/proxy.log" &
proxy=$!
tries=0
until curl --silent --output /dev/null --unix-socket "$run/hub.sock" http://localhost/cm/hello-mtls; do
    kill -0 "$proxy" 2>/dev/null || { cat "$run/proxy.log" >&2; exit 1; }
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || { echo "the proxy did not start" >&2; exit 1; }
    sleep 0.1
done
show curl --silent --show-error --unix-socket demo/run/hub.sock http://localhost/cm/consents/1
echo
# Four processes: the one that parses the network has neither the module nor the PIN.
show ps -o pid,ppid,args --ppid "$proxy"
kill "$proxy"
wait "$proxy"

say "11. JWT Auth: the Sig4 key, made beside the first, signs a token for one call"
cat >>"$run/demo.toml" <<'TOML'

[sig4]
key         = "pkcs11:object=sig4;type=private"
certificate = "tls/sig4.pem"
audience    = "demo-provider"
TOML
hsm_mtls key generate --sig4
hsm_mtls csr --sig4 --output demo/run/sig4.csr
"$bin/examples/hub" issue "$run/hub" "$run/sig4.csr" >"$run/sig4-issued.pem"
hsm_mtls cert install --sig4 demo/run/sig4-issued.pem
hsm_mtls request --jwt GET cm:/consents/1
echo
printf '%s$ hsm-mtls jwt mint | hsm-mtls jwt show -%s\n' "$dim" "$plain"
"$bin/hsm-mtls" jwt mint | "$bin/hsm-mtls" jwt show -

say "12. The same from Rust, with reqwest (examples/hello_hub.rs)"
SOFTHSM2_CONF=$run/token/softhsm2.conf "$bin/examples/hello_hub" "$HSM_MTLS_CONFIG"

say "13. A thief with the PIN asks the token for the private key (examples/thief.rs)"
SOFTHSM2_CONF=$run/token/softhsm2.conf "$bin/examples/thief" /usr/lib/softhsm/libsofthsm2.so lfi-demo c3 "$run/token/pin"

say "14. What the key was used for, and whether anybody changed the record"
hsm_mtls ledger show --counts
hsm_mtls ledger verify

say "15. Can this key leave, and who can use it: the custody audit (the page is demo/run/audit.html)"
hsm_mtls audit --profile development --active --search demo/run --html demo/run/audit.html

say "Done: both services are established, and the key stayed where it was made"
printf 'The command is %s/hsm-mtls; README.md, "From the demo to your HSM", goes on from here.\n' "$bin"
