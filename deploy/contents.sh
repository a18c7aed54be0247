#!/bin/sh
# Looks into the package that `make deb` has built: what is in it, with which mode, and what it asks for.
#   contents.sh FILE.deb
set -eu
case ${1-} in
-h | --help) echo "usage: contents.sh FILE.deb      looks into the package that \`make deb\` has built"; exit 0 ;;
esac
[ $# = 1 ] || { echo "one package is expected, not $#: remove the old ones" >&2; exit 2; }
deb=$1
[ -f "$deb" ] || { printf 'contents.sh: there is no package %s\n' "$deb" >&2; exit 2; }
case $deb in /*) ;; *) deb=./$deb ;; esac
list=$(dpkg-deb -c "$deb")

# mode, path
expected='-rwxr-xr-x ./usr/bin/hsm-mtls
-rw-r--r-- ./usr/lib/systemd/system/hsm-mtls-proxy.service
-rw-r--r-- ./usr/lib/systemd/system/hsm-mtls-proxy.socket
-rw-r--r-- ./usr/lib/systemd/system/hsm-mtls-status.service
-rw-r--r-- ./usr/lib/systemd/system/hsm-mtls-status.timer
-rw-r--r-- ./usr/lib/systemd/system/hsm-mtls-trust.service
-rw-r--r-- ./usr/lib/systemd/system/hsm-mtls-trust.timer
-rw-r----- ./etc/hsm-mtls/preprod.toml
-rw-r--r-- ./usr/share/doc/hsm-mtls/examples/root-start.conf
-rw-r--r-- ./usr/share/doc/hsm-mtls/README.md
-rw-r--r-- ./usr/share/doc/hsm-mtls/CHANGELOG.md
-rw-r--r-- ./usr/share/doc/hsm-mtls/copyright
-rw-r--r-- ./usr/share/doc/hsm-mtls/docs/deploy.md
-rw-r--r-- ./usr/share/doc/hsm-mtls/docs/proxy.md'
wrong=$(printf '%s\n' "$expected" | while read -r mode path; do
    printf '%s\n' "$list" | awk -v m="$mode" -v p="$path" '$1 == m && $2 == "0/0" && $6 == p { found = 1 } END { exit !found }' ||
        echo "not in the package, or not with this mode: $mode root $path"
done)
# Nothing lies outside these folders, and nothing has a set-uid bit or is writable for all.
wrong=$wrong$(printf '%s\n' "$list" | awk '
    $6 !~ "^\\./(usr/(bin/hsm-mtls$|lib/systemd/system/|share/doc/hsm-mtls/|$|bin/$|lib/$|lib/systemd/$|share/$|share/doc/$)|etc/($|hsm-mtls/)|$)" { print "not expected: " $6 }
    $1 ~ "s" || substr($1, 9, 1) == "w" { print "too open: " $1 " " $6 }')
depends=$(dpkg-deb -f "$deb" Depends)
for package in libc6 libgcc-s1 adduser; do
    case $depends in *$package*) ;; *) wrong="$wrong
it does not depend on $package" ;; esac
done
case $depends in *softhsm*) wrong="$wrong
it depends on SoftHSM, which is for trying only" ;; esac
conffiles=$(dpkg-deb --ctrl-tarfile "$deb" | tar -xO ./conffiles)
[ "$conffiles" = /etc/hsm-mtls/preprod.toml ] || wrong="$wrong
conffiles: $conffiles"
# Restarted together with its service, the socket would refuse callers.
dpkg-deb --ctrl-tarfile "$deb" | tar -xO ./postinst | grep -q 'restart.*socket' && wrong="$wrong
postinst restarts the socket"

[ -z "$wrong" ] || { printf '%s\n' "$wrong" >&2; exit 1; }
echo "$deb: $(dpkg-deb -f "$deb" Version), $(du -k "$deb" | cut -f1) KiB, depends on $depends"
