# Two commands do all the set-up on a fresh Debian machine with a Rust toolchain: make demo, make test.
CARGO = cargo
MODULE = /usr/lib/softhsm/libsofthsm2.so
TARGET = $(abspath $(or $(CARGO_TARGET_DIR),target))

.PHONY: demo demo-plain test deny soak kill-rotation large-crl interop bench growth deb fmt clippy lib-only doc clean

# The whole path, from an empty token to mutual TLS with both services of a local hub.
demo:
	@demo/install.sh cc=gcc softhsm2-util=softhsm2 $(MODULE)=libsofthsm2 curl=curl ps=procps
	$(CARGO) build --locked --bin hsm-mtls --example hub --example hello_hub --example thief
	@demo/run.sh

# Mutual TLS with services of no scheme, behind nginx: regime = "plain" (docs/regimes.md). It is among the tests too.
demo-plain:
	@demo/install.sh cc=gcc softhsm2-util=softhsm2 $(MODULE)=libsofthsm2 openssl=openssl nginx=nginx-light curl=curl
	$(CARGO) build --locked --bin hsm-mtls
	@demo/plain.sh

# Everything that has to pass: format, lints, tests, documentation.
test: fmt clippy lib-only
	@demo/install.sh cc=gcc softhsm2-util=softhsm2 $(MODULE)=libsofthsm2 openssl=openssl nginx=nginx-light \
	    /usr/lib/*/pkcs11-spy.so=opensc-pkcs11 pkcs11-tool=opensc p11tool=gnutls-bin p11-kit=p11-kit \
	    /usr/lib/*/pkcs11/p11-kit-client.so=p11-kit-modules curl=curl python3=python3 \
	    certutil=libnss3-tools /usr/lib/*/libsoftokn3.so=libnss3 pkcsslotd=opencryptoki dbus-daemon=dbus-daemon \
	    swtpm=swtpm tpm2-abrmd=tpm2-abrmd /usr/lib/*/libtss2-tcti-tabrmd.so.0=libtss2-tcti-tabrmd0 \
	    /usr/lib/*/libtpm2_pkcs11.so.1=libtpm2-pkcs11-1 tpm2_ptool=libtpm2-pkcs11-tools \
	    node=nodejs /usr/share/nodejs/jose/package.json=node-jose java=default-jdk-headless systemd-analyze=systemd ps=procps unshare=util-linux \
	    squid=squid tinyproxy=tinyproxy-bin stunnel4=stunnel4
	@/usr/bin/python3 -c 'import jsonschema' 2>/dev/null || demo/install.sh /no/such/file=python3-jsonschema
	@/usr/bin/python3 -c 'import jwt, cryptography' 2>/dev/null || \
	    demo/install.sh /no/such/file=python3-jwt /no/such/file=python3-cryptography
	@python3 -c 'import requests' 2>/dev/null || demo/install.sh /no/such/file=python3-requests
	$(CARGO) test --locked --workspace --no-fail-fast
	$(MAKE) doc

# The dependencies: known weaknesses, licences, sources (deny.toml). With DENY_FLAGS=--offline the advisories are those in
# target/advisory-db; else they are fetched.
CARGO_DENY = 0.20.2
DENY_FLAGS =
TOOLS = $(TARGET)/tools
deny:
	@$(TOOLS)/bin/cargo-deny --version 2>/dev/null | grep -qx 'cargo-deny $(CARGO_DENY)' || $(CARGO) install --quiet \
	    --locked --debug --version $(CARGO_DENY) --root $(TOOLS) --target-dir $(TOOLS)/build cargo-deny
	@# The crates of all platforms: what is not built here is judged too, and --offline fetches nothing.
	@$(CARGO) fetch --locked --quiet
	$(TOOLS)/bin/cargo-deny --locked --workspace $(DENY_FLAGS) check
	@git -C target/advisory-db/advisory-db-* log -1 --format='The advisories are of %cs (%cr).'

# A hundred SIGKILLs at random moments of a rotation; 20 are part of the tests.
kill-rotation:
	ROTATION_KILLS=100 $(CARGO) test --locked -p hsm-mtls-cli --test rotation -- --nocapture killed

# A CRL of 50 MB in the proxy: memory and handshakes; a smaller one is part of the tests.
large-crl:
	LARGE_CRL_ENTRIES=1200000 $(CARGO) test --locked -p hsm-mtls-cli --test proxy -- --nocapture large_crl

# Ten minutes of a token that misbehaves; writes docs/soak.md. A short run is part of the tests.
SOAK_SECONDS = 600
soak:
	@demo/install.sh cc=gcc softhsm2-util=softhsm2 $(MODULE)=libsofthsm2 p11-kit=p11-kit \
	    /usr/lib/*/pkcs11/p11-kit-client.so=p11-kit-modules
	SOAK_SECONDS=$(SOAK_SECONDS) SOAK_PAGE=$(CURDIR)/docs/soak.md $(CARGO) test --locked -p hsm-mtls-cli --test soak -- --nocapture

# The key of each token against each server; writes docs/interop.md. A part of it is among the tests. Not kryoptic: its
# build wants libclang (some hundred MB) and a minute.
interop:
	@demo/install.sh cc=gcc softhsm2-util=softhsm2 $(MODULE)=libsofthsm2 openssl=openssl nginx=nginx-light \
	    gnutls-serv=gnutls-bin java=default-jdk-headless pkcs11-tool=opensc p11-kit=p11-kit \
	    /usr/lib/*/pkcs11/p11-kit-client.so=p11-kit-modules certutil=libnss3-tools /usr/lib/*/libsoftokn3.so=libnss3 \
	    pkcsslotd=opencryptoki dbus-daemon=dbus-daemon swtpm=swtpm tpm2-abrmd=tpm2-abrmd \
	    /usr/lib/*/libtss2-tcti-tabrmd.so.0=libtss2-tcti-tabrmd0 /usr/lib/*/libtpm2_pkcs11.so.1=libtpm2-pkcs11-1 \
	    tpm2_ptool=libtpm2-pkcs11-tools unshare=util-linux pkg-config=pkg-config /usr/include/openssl/evp.h=libssl-dev \
	    /usr/include/sqlite3.h=libsqlite3-dev /usr/lib/llvm-*/lib/libclang.so=libclang-dev
	cd tests/interop/kryoptic && $(CARGO) build --locked --release -p kryoptic --target-dir $(TARGET)/kryoptic
	INTEROP_KRYOPTIC=$(TARGET)/kryoptic/release/libkryoptic_pkcs11.so INTEROP_PAGE=$(CURDIR)/docs/interop.md \
	    $(CARGO) test --locked -p hsm-mtls-cli --test interop -- --nocapture --test-threads=1

# Figures of docs/bench.md, on this machine. Not part of the tests: what it finds is the machine's too.
bench:
	@demo/install.sh cc=gcc softhsm2-util=softhsm2 $(MODULE)=libsofthsm2 openssl=openssl nginx=nginx-light \
	    /usr/lib/*/engines-3/pkcs11.so=libengine-pkcs11-openssl stunnel=stunnel4 curl=curl strace=strace
	$(CARGO) bench --locked -p hsm-mtls-cli --bench signing

# How cost grows with the work: figures and pictures of docs/growth.md. GROWTH_RECORDS=10000000 for a larger ledger.
growth:
	@demo/install.sh cc=gcc softhsm2-util=softhsm2 $(MODULE)=libsofthsm2 openssl=openssl nginx=nginx-light \
	    /usr/lib/*/engines-3/pkcs11.so=libengine-pkcs11-openssl
	$(CARGO) bench --locked -p hsm-mtls-cli --bench signing -- growth

# The Debian package, in target/debian; docs/deploy.md. deploy/try.sh installs it here and uses it.
DEB = $(or $(CARGO_TARGET_DIR),target)/debian
deb:
	@demo/install.sh cc=gcc dpkg-shlibdeps=dpkg-dev
	@$(CARGO) deb --version >/dev/null 2>&1 || { echo "installing what is missing: cargo-deb"; $(CARGO) install --locked cargo-deb; }
	$(CARGO) deb --locked -p hsm-mtls-cli --output $(DEB)/
	@deploy/contents.sh $(DEB)/hsm-mtls_*.deb

fmt:
	$(CARGO) fmt --all --check

clippy:
	@demo/install.sh cc=gcc
	$(CARGO) clippy --locked --workspace --all-targets --all-features -- -D warnings

# The library without the command and without reqwest, as a lean user takes it.
lib-only:
	$(CARGO) clippy --locked -p hsm-mtls --lib --no-default-features -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps

clean:
	softhsm/down.sh
	rm -rf demo/run
	$(CARGO) clean
