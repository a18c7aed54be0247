//! A Trust Framework of our own, shaped as the real one, because its certificates can be had only by licensed institutions.

mod crl;
mod request;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use der::asn1::{Ia5String, ObjectIdentifier};
use der::pem::LineEnding;
use der::{Decode as _, Encode as _};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, RsaKeySize, SerialNumber,
    SubjectPublicKeyInfo,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::{Duration, OffsetDateTime};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{AccessDescription, AuthorityInfoAccessSyntax};

const AUTHORITY_INFO_ACCESS: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 1, 1];
const OCSP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1");
const THIRTEEN_MONTHS: Duration = Duration::days(395);
/// Clocks differ: everything is valid from a little before it was made.
const BACKDATED: Duration = Duration::minutes(10);

/// Which of the two Trust Frameworks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Sandbox,
    Production,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Sandbox => "Sandbox",
            Self::Production => "Production",
        }
    }

    fn ocsp(self) -> &'static str {
        match self {
            Self::Sandbox => "http://ocsp.sandbox.pki.openfinance.ae",
            Self::Production => "http://ocsp.pki.openfinance.ae",
        }
    }
}

/// A root and an issuing CA, with their keys at hand.
pub struct TrustFramework {
    kind: Kind,
    root: CertificateDer<'static>,
    issuing: CertificateDer<'static>,
    root_key: KeyPair,
    /// Holds the issuing key for SHA-256, which is what leaves are signed with.
    issuer: Issuer<'static, KeyPair>,
}

/// What a server needs to speak TLS, in both forms that servers take it.
#[derive(Debug)]
pub struct ServerIdentity {
    pub chain_der: Vec<CertificateDer<'static>>,
    pub key_der: PrivateKeyDer<'static>,
    pub chain_pem: String,
    pub key_pem: String,
}

impl ServerIdentity {
    pub fn from_pem(chain_pem: &str, key_pem: &str) -> Self {
        Self {
            chain_der: CertificateDer::pem_slice_iter(chain_pem.as_bytes())
                .collect::<Result<_, _>>()
                .expect("a chain in PEM"),
            key_der: PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).expect("a key in PEM"),
            chain_pem: chain_pem.to_owned(),
            key_pem: key_pem.to_owned(),
        }
    }
}

impl Clone for ServerIdentity {
    fn clone(&self) -> Self {
        Self {
            chain_der: self.chain_der.clone(),
            key_der: self.key_der.clone_key(),
            chain_pem: self.chain_pem.clone(),
            key_pem: self.key_pem.clone(),
        }
    }
}

impl TrustFramework {
    pub fn new(kind: Kind) -> Self {
        Self::of_generation(kind, 1)
    }

    /// The same with CAs of another generation, as after a rollover: other keys, and another number in the names.
    pub fn of_generation(kind: Kind, generation: u32) -> Self {
        let root_key = rsa_key();
        let issuing_key = rsa_key();
        let root_params = authority(kind, "Root", generation, Duration::days(20 * 365));
        let root = root_params.self_signed(&root_key).expect("a root");
        let mut issuing_params = authority(kind, "Issuing", generation, Duration::days(10 * 365));
        issuing_params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        issuing_params.use_authority_key_identifier_extension = true;
        let issuing = issuing_params
            .signed_by(&issuing_key, &Issuer::from_params(&root_params, &root_key))
            .expect("an issuing CA");
        Self::assemble(
            kind,
            root.into(),
            issuing.into(),
            root_key,
            &issuing_key.serialize_pem(),
        )
    }

    /// Reads what [`save`](Self::save) wrote.
    pub fn load(dir: &Path) -> Self {
        let read = |name: &str| {
            let path = dir.join(name);
            fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        };
        let certificate = |name: &str| {
            CertificateDer::from_pem_slice(read(name).as_bytes()).expect("a certificate in PEM")
        };
        let root = certificate("root.pem");
        let subject = x509_cert::Certificate::from_der(&root)
            .expect("a root certificate")
            .tbs_certificate()
            .subject()
            .to_string();
        let kind = if subject.contains(Kind::Production.name()) {
            Kind::Production
        } else {
            Kind::Sandbox
        };
        let root_key =
            KeyPair::from_pkcs8_pem_and_sign_algo(&read("root-key.pem"), &rcgen::PKCS_RSA_SHA512)
                .expect("the root's key");
        Self::assemble(
            kind,
            root,
            certificate("issuing.pem"),
            root_key,
            &read("issuing-key.pem"),
        )
    }

    /// Writes certificates, bundle and keys; the keys for their owner only.
    pub fn save(&self, dir: &Path) {
        fs::create_dir_all(dir).expect("a directory for the Trust Framework");
        let write = |name: &str, text: &str| write_file(&dir.join(name), text, 0o644);
        write("root.pem", &certificate_pem(&self.root));
        write("issuing.pem", &certificate_pem(&self.issuing));
        write("bundle.pem", &self.bundle_pem());
        let keep = |name: &str, key: &KeyPair| {
            write_file(&dir.join(name), &key.serialize_pem(), 0o600);
        };
        keep("root-key.pem", &self.root_key);
        keep("issuing-key.pem", self.issuer.key());
    }

    fn assemble(
        kind: Kind,
        root: CertificateDer<'static>,
        issuing: CertificateDer<'static>,
        root_key: KeyPair,
        issuing_key_pem: &str,
    ) -> Self {
        let key = KeyPair::from_pkcs8_pem_and_sign_algo(issuing_key_pem, &rcgen::PKCS_RSA_SHA256)
            .expect("the issuing CA's key");
        let issuer = Issuer::from_ca_cert_der(&issuing, key).expect("an issuing certificate");
        Self {
            kind,
            root,
            issuing,
            root_key,
            issuer,
        }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Issuing CA first, then root: the order in which the real bundle comes.
    pub fn bundle_pem(&self) -> String {
        certificate_pem(&self.issuing) + &certificate_pem(&self.root)
    }

    pub fn root_der(&self) -> &CertificateDer<'static> {
        &self.root
    }

    pub fn issuing_der(&self) -> &CertificateDer<'static> {
        &self.issuing
    }

    pub fn issuing_pem(&self) -> String {
        certificate_pem(&self.issuing)
    }

    /// A C3 (or Sig4) for a PKCS#10 request: leaf only, in PEM. Panics if the request is not signed by its own key.
    pub fn issue_client(&self, csr_pem: &str) -> String {
        self.issue_client_with(csr_pem, |_| {})
    }

    /// The same with something changed, for certificates that are wrong in one way.
    ///
    /// The subject is the request's, byte for byte, unless `edit` sets `distinguished_name`.
    pub fn issue_client_with(
        &self,
        csr_pem: &str,
        edit: impl FnOnce(&mut CertificateParams),
    ) -> String {
        let (subject, spki) = request::checked(csr_pem);
        let mut params = leaf(ExtendedKeyUsagePurpose::ClientAuth);
        params.custom_extensions = vec![ocsp_only(self.kind)];
        let untouched = params.distinguished_name.clone();
        edit(&mut params);
        let public_key =
            SubjectPublicKeyInfo::from_der(&spki.to_der().expect("a DER key")).expect("a key type");
        let certificate = params
            .signed_by(&public_key, &self.issuer)
            .expect("a client certificate");
        if params.distinguished_name != untouched {
            return certificate.pem();
        }
        certificate_pem(&request::with_subject(
            certificate.der(),
            subject,
            self.issuer.key(),
        ))
    }

    /// A server certificate for DNS names or IP addresses, with the issuing CA behind it.
    pub fn issue_server(&self, names: &[&str]) -> ServerIdentity {
        self.issue_server_with(names, |_| {})
    }

    /// The same with something changed, for servers that are wrong in one way.
    pub fn issue_server_with(
        &self,
        names: &[&str],
        edit: impl FnOnce(&mut CertificateParams),
    ) -> ServerIdentity {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a P-256 key");
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let first = names.first().expect("at least one server name").clone();
        let mut params = leaf(ExtendedKeyUsagePurpose::ServerAuth);
        params.subject_alt_names = CertificateParams::new(names)
            .expect("DNS names or IP addresses")
            .subject_alt_names;
        params.distinguished_name = name_of_scheme();
        params.distinguished_name.push(DnType::CommonName, first);
        params.custom_extensions = vec![ocsp_only(self.kind)];
        edit(&mut params);
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("a server certificate");
        ServerIdentity {
            chain_pem: certificate.pem() + &certificate_pem(&self.issuing),
            chain_der: vec![certificate.into(), self.issuing.clone()],
            key_pem: key.serialize_pem(),
            key_der: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        }
    }
}

/// Writes a file that has its mode from the start, so that a key is never readable, not even for a moment.
pub fn write_file(path: &Path, text: &str, mode: u32) {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

fn rsa_key() -> KeyPair {
    KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA512, RsaKeySize::_2048).expect("an RSA key")
}

fn name_of_scheme() -> DistinguishedName {
    let mut name = DistinguishedName::new();
    let country = DnValue::PrintableString("AE".try_into().expect("printable"));
    name.push(DnType::CountryName, country);
    name.push(DnType::OrganizationName, "Nebras Open Finance Company");
    name.push(DnType::OrganizationalUnitName, "Al Tareq Trust Framework");
    name
}

fn authority(kind: Kind, tier: &str, generation: u32, lifetime: Duration) -> CertificateParams {
    let mut params = dated(lifetime);
    params.distinguished_name = name_of_scheme();
    params.distinguished_name.push(
        DnType::CommonName,
        format!(
            "Al Tareq {} Trust Framework {tier} CA - G{generation}",
            kind.name()
        ),
    );
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf(purpose: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = dated(THIRTEEN_MONTHS);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    params.use_authority_key_identifier_extension = true;
    params
}

fn dated(lifetime: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = OffsetDateTime::now_utc() - BACKDATED;
    params.not_after = params.not_before + lifetime;
    // rcgen would derive it from the key, and a renewal for the same key would repeat it.
    params.serial_number = Some(SerialNumber::from_slice(uuid::Uuid::new_v4().as_bytes()));
    params
}

fn ocsp_only(kind: Kind) -> CustomExtension {
    let location = Ia5String::new(kind.ocsp()).expect("an ASCII address");
    let access = AuthorityInfoAccessSyntax(vec![AccessDescription {
        access_method: OCSP,
        access_location: GeneralName::UniformResourceIdentifier(location),
    }]);
    let content = access.to_der().expect("an AIA extension");
    CustomExtension::from_oid_content(&AUTHORITY_INFO_ACCESS, content)
}

fn certificate_pem(der: &[u8]) -> String {
    der::pem::encode_string("CERTIFICATE", LineEnding::LF, der).expect("PEM")
}
