//! CAs, certificates and lists made by the `openssl` command, and its own verdict on them: what a peer that is
//! not ours holds for valid.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A folder to run `openssl` in.
pub struct OpenSsl {
    dir: TempDir,
}

const CA_EXTENSIONS: &str = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n\
     subjectKeyIdentifier=hash\n";
pub const LEAF_EXTENSIONS: &str = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n\
     extendedKeyUsage=clientAuth,serverAuth\nsubjectAltName=DNS:localhost\n";

impl OpenSsl {
    pub fn new() -> Self {
        let here = Self {
            dir: tempfile::tempdir().expect("a folder for openssl"),
        };
        here.write("ca.ext", CA_EXTENSIONS);
        here.write("leaf.ext", LEAF_EXTENSIONS);
        here
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("a file for openssl");
        path
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("what openssl wrote")
    }

    /// Runs `openssl` with the words of a line, and further arguments.
    pub fn try_run(&self, line: &str, further: &[&str]) -> Output {
        Command::new("openssl")
            .args(line.split_whitespace())
            .args(further)
            .current_dir(self.dir.path())
            .output()
            .expect("openssl is installed")
    }

    pub fn run(&self, line: &str) {
        let done = self.try_run(line, &[]);
        assert!(done.status.success(), "openssl {line}: {done:?}");
    }

    /// `NAME.key`, by the arguments of `genpkey`. Whether this openssl can make it.
    pub fn key(&self, name: &str, arguments: &str) -> bool {
        let line = format!("genpkey {arguments} -out {name}.key");
        self.try_run(&line, &[]).status.success()
    }

    /// `NAME.csr` for `NAME.key`.
    pub fn request(&self, name: &str, subject: &str) {
        let line = format!("req -new -key {name}.key -out {name}.csr -utf8 -subj");
        let done = self.try_run(&line, &[subject]);
        assert!(done.status.success(), "{done:?}");
    }

    /// `NAME.pem`, signed by its own key with whatever is the default.
    pub fn root(&self, name: &str, subject: &str) {
        self.request(name, subject);
        self.run(&format!(
            "x509 -req -in {name}.csr -signkey {name}.key -days 300 -extfile ca.ext -out {name}.pem"
        ));
    }

    /// `OUT.pem` for `NAME.csr`, issued by `CA.pem` with the options of the signature. Whether openssl does that.
    pub fn issue(&self, name: &str, ca: &str, extensions: &str, options: &str, out: &str) -> bool {
        let line = format!(
            "x509 -req -in {name}.csr -CA {ca}.pem -CAkey {ca}.key -CAcreateserial -days 200 -extfile {extensions} {options} \
             -out {out}.pem"
        );
        self.try_run(&line, &[]).status.success()
    }

    /// `OUT.crl` of the CA, with the options of the signature. Whether openssl does that.
    pub fn list(&self, ca: &str, options: &str, extensions: &str, out: &str) -> bool {
        self.write("index.txt", "");
        self.write("crlnumber", "1000\n");
        let config = format!(
            "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ncrlnumber=crlnumber\ndefault_md=sha256\ndefault_crl_days=30\n\
             crl_extensions=e\n[e]\n{extensions}\n"
        );
        self.write("crl.cnf", config);
        // Here the hash has a name of its own.
        let options = options.replacen("-sha", "-md sha", 1);
        let line = format!(
            "ca -gencrl -config crl.cnf -cert {ca}.pem -keyfile {ca}.key {options} -out {out}.crl"
        );
        self.try_run(&line, &[]).status.success()
    }

    /// Whether openssl takes LEAF.pem below ISSUING.pem below ROOT.pem, and `further`.
    pub fn takes(&self, leaf: &str, issuing: &str, root: &str, further: &str) -> bool {
        let line =
            format!("verify -CAfile {root}.pem -untrusted {issuing}.pem {further} {leaf}.pem");
        self.try_run(&line, &[]).status.success()
    }
}

impl Default for OpenSsl {
    fn default() -> Self {
        Self::new()
    }
}
