#!/bin/sh
# Mutual TLS with services of no scheme (regime = "plain"): a CA made by OpenSSL, nginx with two services, and a key in a
# SoftHSM2 token. Everything it makes lies in demo/plain, which the next run begins by removing.
set -eu
usage() { echo "usage: demo/plain.sh      shows regime = \"plain\"; \`make demo-plain\` builds what it takes, then runs it"; }
case ${1-} in
-h | --help) usage; exit 0 ;;
esac
[ $# = 0 ] || { usage >&2; exit 2; }
top=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
run=$top/demo/plain
target=${CARGO_TARGET_DIR:-$top/target}
case $target in /*) ;; *) target=$top/$target ;; esac
bin=$target/debug
cd -- "$top"
[ -x "$bin/hsm-mtls" ] || { echo "plain.sh: $bin/hsm-mtls is not built: make demo-plain" >&2; exit 1; }
PATH=$PATH:/usr/sbin:/sbin
for program in openssl nginx curl; do
    command -v "$program" >/dev/null || { echo "plain.sh: $program is missing: apt-get install $program" >&2; exit 1; }
done

if [ -t 1 ]; then bold=$(printf '\033[1m') dim=$(printf '\033[2m') plain=$(printf '\033[0m'); else bold= dim= plain=; fi
say() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
hsm_mtls() { printf '%s$ hsm-mtls %s%s\n' "$dim" "$*" "$plain"; "$bin/hsm-mtls" "$@"; }
# Waits for a condition, at most ten seconds.
await() {
    what=$1 tries=0
    shift
    until "$@" 2>/dev/null; do
        tries=$((tries + 1))
        [ "$tries" -lt 100 ] || { echo "plain.sh: $what" >&2; exit 1; }
        sleep 0.1
    done
}

rm -rf "$run"
mkdir -p "$run/tls" "$run/ledger" "$run/nginx"

say "1. A CA of the company's own, and a certificate for its server"
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj '/O=Example AG/CN=Example Private CA' \
    -keyout "$run/nginx/ca.key" -out "$run/tls/ca.pem" 2>/dev/null
openssl req -newkey rsa:2048 -nodes -subj '/CN=localhost' -keyout "$run/nginx/server.key" -out "$run/nginx/server.csr" 2>/dev/null
printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n' >"$run/nginx/server.ext"
openssl x509 -req -in "$run/nginx/server.csr" -CA "$run/tls/ca.pem" -CAkey "$run/nginx/ca.key" -CAcreateserial -days 30 \
    -extfile "$run/nginx/server.ext" -out "$run/nginx/server.pem" 2>/dev/null
openssl x509 -in "$run/tls/ca.pem" -noout -subject

say "2. Two services behind nginx, which wants a certificate of that CA"
cat >"$run/nginx/nginx.conf" <<'NGINX'
daemon off;
pid nginx.pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    ssl_certificate server.pem;
    ssl_certificate_key server.key;
    ssl_client_certificate ../tls/ca.pem;
    ssl_verify_client on;
    ssl_protocols TLSv1.2 TLSv1.3;
    server {
        listen 127.0.0.1:PAYMENTS ssl;
        location = /health { return 200 '{"status":"up"}'; }
        location / { return 200 'payments, asked by $ssl_client_s_dn\n'; }
    }
    server {
        listen 127.0.0.1:ACCOUNTS ssl;
        location = /ping { return 204; }
        location / { return 200 'accounts, asked by $ssl_client_s_dn\n'; }
    }
}
NGINX
template=$(cat "$run/nginx/nginx.conf")
nginx= proxy=
trap 'for child in $proxy $nginx; do kill "$child" 2>/dev/null && wait "$child" || :; done' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
# A port that is free now may be taken before nginx has it: then the next two are tried.
start_nginx() {
    [ -z "$nginx" ] || { kill -0 "$nginx" && [ -s "$run/nginx/nginx.pid" ] && return 0; }
    [ -z "$nginx" ] || kill -0 "$nginx" 2>/dev/null || nginx=
    [ -z "$nginx" ] || return 1
    payments=$(od -An -N2 -tu2 /dev/urandom | tr -d ' ')
    payments=$((payments % 20000 + 20000)) accounts=$((payments + 1))
    printf '%s\n' "$template" | while IFS= read -r line; do
        case $line in
        *PAYMENTS*) printf '%s%s%s\n' "${line%%PAYMENTS*}" "$payments" "${line#*PAYMENTS}" ;;
        *ACCOUNTS*) printf '%s%s%s\n' "${line%%ACCOUNTS*}" "$accounts" "${line#*ACCOUNTS}" ;;
        *) printf '%s\n' "$line" ;;
        esac
    done >"$run/nginx/nginx.conf"
    (cd "$run/nginx" && exec nginx -p . -c nginx.conf -e stderr 2>nginx.log) &
    nginx=$!
    return 1
}
payments= accounts=
await "nginx did not start" start_nginx
echo "payments on 127.0.0.1:$payments, accounts on 127.0.0.1:$accounts"

say "3. A token, and the configuration"
softhsm/up.sh "$run/token" plain-demo
cat >"$run/plain.toml" <<TOML
regime      = "plain"
environment = "test"

[[token]]
module = "/usr/lib/softhsm/libsofthsm2.so"
uri    = "pkcs11:token=plain-demo"
pin    = { file = "token/pin" }
env    = { SOFTHSM2_CONF = "{config_dir}/token/softhsm2.conf" }
state_dir = "state"

[c3]
key         = "pkcs11:object=client;type=private"
certificate = "tls/client.pem"

[c3.subject]
rdns = ["C=DE", "O=Example, Müller & Co. AG", "CN=payments-client"]

[trust]
mode    = "trust-framework"          # the roots in \`anchors\`, and no others
anchors = "tls/ca.pem"

[hub.services.payments]
url    = "https://localhost:$payments"
title  = "Payments"
verify = { path = "/health", contains = "up" }

[hub.services.accounts]
url    = "https://127.0.0.1:$accounts"
verify = { path = "/ping", status = 204 }

[ledger]
file  = "ledger/ledger.jsonl"
fsync = "interval"

[proxy]
access_log = "off"
# A demo has one user, to whom all files belong: docs/deploy.md says how a service does without this.
accept_same_user = true

[[proxy.listener]]
unix = "client.sock"
TOML
export HSM_MTLS_CONFIG=demo/plain/plain.toml
printf '%s$ export HSM_MTLS_CONFIG=%s%s\n' "$dim" "$HSM_MTLS_CONFIG" "$plain"
hsm_mtls config check

say "4. The key, its request and its certificate"
hsm_mtls key generate
hsm_mtls csr --output demo/plain/client.csr
printf 'keyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n' >"$run/nginx/client.ext"
openssl x509 -req -in "$run/client.csr" -CA "$run/tls/ca.pem" -CAkey "$run/nginx/ca.key" -CAcreateserial -days 30 \
    -extfile "$run/nginx/client.ext" -out "$run/issued.pem" 2>/dev/null
hsm_mtls cert install demo/plain/issued.pem

say "5. Mutual TLS with each service"
hsm_mtls verify

say "6. Calls: by the command, and by any program through the proxy"
hsm_mtls request GET payments:/orders/1
"$bin/hsm-mtls" proxy >"$run/proxy.out" 2>&1 &
proxy=$!
answers() { curl --silent --fail --unix-socket "$run/client.sock" http://localhost/accounts/ping >/dev/null; }
await "the proxy did not start: see demo/plain/proxy.out" answers
printf '%s$ curl --unix-socket demo/plain/client.sock http://localhost/accounts/1%s\n' "$dim" "$plain"
curl --silent --show-error --fail --unix-socket "$run/client.sock" http://localhost/accounts/1
kill "$proxy" && wait "$proxy" || :
proxy=

say "7. What the key was used for"
hsm_mtls ledger show --counts

say "Done: both services know payments-client, and its key is in the token"
