//! `key list` and `key generate`: the private keys in the token.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::digest::{SHA256, digest};
use hsm_mtls::internal::config::uri::Pkcs11Uri;
use hsm_mtls::internal::config::{Config, KeyRole};
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::key::attributes::KeyAttributes;
use hsm_mtls::internal::key::generate::{self, Claims, GeneratedKey, KeyPairRequest};
use hsm_mtls::internal::key::scheme::KeyAlgorithm;
use hsm_mtls::internal::key::unsupported::SUPPORTED;
use hsm_mtls::internal::key::{Key, KeyError, find_all};
use hsm_mtls::internal::ledger::Recorder;
use hsm_mtls::internal::ledger::lock::FileLock;
use hsm_mtls::internal::token::fault::FaultClass;
use hsm_mtls::internal::token::module::Module;
use hsm_mtls::internal::token::session::{Access, Session};
use hsm_mtls::internal::token::{Role, Token, TokenError, TokenOperation, with_timeout};
use serde_json::{Value, json};

use super::token_process::GENERATION_TRIES;
use super::{CommandError, GenerateArgs, Global, KeyType, output, setup};

pub(super) fn list(global: &Global, config: &Config) -> Result<ExitCode, CommandError> {
    let token = setup::open_token(config).map_err(CommandError::stage)?;
    let session = token
        .session(Access::ReadOnly)
        .map_err(CommandError::stage)?;
    let any = Pkcs11Uri::default();
    let keys = find_all(&session, &token, &any).map_err(CommandError::stage)?;
    if global.json {
        let keys: Vec<_> = keys.iter().map(|key| as_json(key, &session)).collect();
        output::json(&json!({
            "schema": 0,
            "environment": config.environment.as_str(),
            "token": token.description().uri().to_string(),
            "keys": keys,
        }))?;
    } else {
        output::heading(&token.description().uri().to_string())?;
        if keys.is_empty() {
            output::line("  no private key that this user can see")?;
        }
        for key in &keys {
            print(key, &session)?;
        }
    }
    Ok(ExitCode::Good)
}

pub(super) fn generate(
    global: &Global,
    config: &Config,
    args: GenerateArgs,
) -> Result<ExitCode, CommandError> {
    let role = args.role;
    role.run(config, |view| generate_for(global, view, args))
}

fn generate_for(
    global: &Global,
    config: &Config,
    args: GenerateArgs,
) -> Result<ExitCode, CommandError> {
    if let (KeyRole::Sig4, algorithm) = (config.c3.role, algorithm(args.key_type))
        && !matches!(algorithm, KeyAlgorithm::Rsa { .. })
    {
        return Err(CommandError::usage(
            format!(
                "the tokens of JWT Auth are signed by PS256, which takes an RSA key, and not {algorithm}"
            ),
            "leave --type out: then the key is RSA-2048",
        ));
    }
    let label = args
        .label
        .or_else(|| config.c3.key.object.clone())
        .ok_or_else(|| {
            CommandError::usage(
                "the key has no name",
                "pass --label, or write `object=` into `key` of [c3]",
            )
        })?;
    let configured = Role::from(config.token.user);
    let role = args.user_type.unwrap_or(configured);
    let user_name = setup::user_name(config, role, args.user_name);
    let is_configured = role == configured && user_name == config.token.user_name;
    if !is_configured && args.pin_source.is_none() {
        // The user's PIN, sent for another role, would use up one of its few tries.
        return Err(CommandError::usage(
            "this role has a PIN of its own, and no source for it was given",
            "pass --pin-source: the `pin` of [[token]] is that of its `user`, and is not tried for another role or name",
        ));
    }
    let module = Module::load(&config.token).map_err(CommandError::stage)?;
    let recorder = Recorder::open(config.ledger.as_ref()).map_err(CommandError::stage)?;
    let mut token = Token::select(module, &config.token, setup::attendance(), recorder)
        .map_err(CommandError::stage)?;
    if let Some(source) = args.pin_source {
        token = token.with_pin_source(source, setup::attendance(), role, user_name);
    }
    let algorithm = algorithm(args.key_type);
    let claims = match args.accept_claims {
        true => Claims::AnyUse,
        false => Claims::AsRequested,
    };
    let request = KeyPairRequest {
        algorithm,
        label: &label,
        id: None,
        claims,
        role,
    };
    // Before a login: it would be in vain.
    request.check_family(&token).map_err(CommandError::stage)?;
    token.log_in(role).map_err(CommandError::stage)?;
    // Held from the check of the labels until the key exists: no other process makes a key with the same label.
    let _lock = lock_generation(config, &token)?;
    let timeout = config.token.start_timeout * GENERATION_TRIES;
    // The login lasts as long as the token is here.
    let (_token, session, generated) =
        with_timeout(TokenOperation::KeyGeneration, timeout, move || {
            let session = token.session(Access::ReadWrite)?;
            let request = KeyPairRequest {
                algorithm,
                label: &label,
                id: None,
                claims,
                role,
            };
            let generated = generate::generate(&token, &session, &request);
            Ok::<_, TokenError>((token, session, generated))
        })
        .map_err(CommandError::stage)?;
    let GeneratedKey {
        key,
        mechanism,
        not_restricted,
    } = generated.map_err(|error| match error {
        KeyError::Call(fault) if role != Role::User && fault.class() == FaultClass::Login => {
            CommandError::usage(
                format!("this role may not make private keys on this token: {fault}"),
                "use --user-type user, so, or the number of the vendor's role for it",
            )
        }
        other => CommandError::stage(other),
    })?;
    if global.json {
        output::json(&json!({
            "schema": 0,
            "key": as_json(&key, &session),
            "mechanism": mechanism,
            "not_restricted": not_restricted,
        }))?;
    } else {
        output::heading("made in the token")?;
        print(&key, &session)?;
        output::line(&format!("  made with {mechanism}"))?;
        if args.key_type as u8 != KeyType::Rsa2048 as u8 {
            output::remark("the scheme documents RSA-2048 as the only type that it accepts");
        }
        if !not_restricted.is_empty() {
            output::line(&format!(
                "  the token does not take {} for a key pair",
                not_restricted.join(" and ")
            ))?;
        }
    }
    Ok(ExitCode::Good)
}

/// Locks key generation in this token against other processes with the same `state_dir`. `None` where it has no path.
///
/// # Errors
/// Another process holds the lock for too long, or the file cannot be locked.
pub(super) fn lock_generation(
    config: &Config,
    token: &Token,
) -> Result<Option<FileLock>, CommandError> {
    let Some(folder) = config.token.state_folder() else {
        return Ok(None);
    };
    let uri = token.description().uri().to_string();
    let hash = digest(&SHA256, uri.as_bytes());
    let name: String = hash
        .as_ref()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let path = folder.join(format!("generate-{name}.lock"));
    let timeout = config.token.start_timeout;
    let locked = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .and_then(|()| {
            let mut options = File::options();
            options.create(true).append(true).mode(0o600).open(&path)
        })
        .and_then(|file| FileLock::acquire_until(&Arc::new(file), Instant::now() + timeout));
    match locked {
        Ok(Some(lock)) => Ok(Some(lock)),
        Ok(None) => Err(CommandError::Usage {
            message: format!(
                "another `key generate` on this token did not end within {} s; no key was made",
                timeout.as_secs_f64()
            ),
            hint: format!(
                "wait until it has ended, or end it (`fuser {}` names it)",
                path.display()
            ),
            code: ExitCode::Token,
        }),
        Err(error) => Err(CommandError::usage(
            format!(
                "another `key generate` cannot be kept out by {}: {error}; no key was made",
                path.display()
            ),
            "let `state_dir` of [[token]] name a folder that this user can write to",
        )),
    }
}

fn algorithm(key_type: KeyType) -> KeyAlgorithm {
    match key_type {
        KeyType::Rsa2048 => KeyAlgorithm::Rsa { bits: 2048 },
        KeyType::Rsa3072 => KeyAlgorithm::Rsa { bits: 3072 },
        KeyType::Rsa4096 => KeyAlgorithm::Rsa { bits: 4096 },
        KeyType::P256 => KeyAlgorithm::EcP256,
        KeyType::P384 => KeyAlgorithm::EcP384,
        KeyType::P521 => KeyAlgorithm::EcP521,
        KeyType::Ed25519 => KeyAlgorithm::Ed25519,
    }
}

fn as_json(key: &Key, session: &Session) -> Value {
    let public = key.public_key().ok();
    let mut json = json!({
        "uri": key.uri().to_string(),
        "type": public.map(|public| public.algorithm().to_string()),
        "spki_sha256": public.map(|public| public.fingerprint().to_string()),
        "attributes": key.attributes(session),
    });
    if let Some(unsupported) = key.unsupported() {
        json["unsupported"] = unsupported.to_string().into();
    }
    json
}

fn print(key: &Key, session: &Session) -> Result<(), CommandError> {
    let public = key.public_key().ok();
    let claims = claims(&key.attributes(session));
    output::line(&format!("  {}", key.uri()))?;
    output::fields(&[
        (
            "  type",
            match (public, key.unsupported()) {
                (Some(public), _) => public.algorithm().to_string(),
                (None, Some(unsupported)) => {
                    format!("{unsupported}, which is not supported (supported are {SUPPORTED})")
                }
                (None, None) => "unknown".to_owned(),
            },
        ),
        (
            "  public key",
            match (public, key.unsupported()) {
                (Some(public), _) => public.fingerprint().to_string(),
                (None, Some(_)) => "of that kind".to_owned(),
                (None, None) => "withheld".to_owned(),
            },
        ),
        ("  the token claims", claims),
    ])
}

/// The attributes that concern extraction, import and usage, by their PKCS#11 names.
fn claims(attributes: &KeyAttributes) -> String {
    let all = [
        ("CKA_PRIVATE", attributes.private),
        ("CKA_SENSITIVE", attributes.sensitive),
        ("CKA_EXTRACTABLE", attributes.extractable),
        ("CKA_ALWAYS_SENSITIVE", attributes.always_sensitive),
        ("CKA_NEVER_EXTRACTABLE", attributes.never_extractable),
        ("CKA_LOCAL", attributes.local),
        ("CKA_SIGN", attributes.sign),
        ("CKA_DECRYPT", attributes.decrypt),
        ("CKA_UNWRAP", attributes.unwrap),
        ("CKA_DERIVE", attributes.derive),
        ("CKA_MODIFIABLE", attributes.modifiable),
        ("CKA_COPYABLE", attributes.copyable),
    ];
    let known = all.iter().filter_map(|(name, value)| {
        value.map(|is_set| {
            if is_set {
                (*name).to_owned()
            } else {
                format!("not {name}")
            }
        })
    });
    known.collect::<Vec<_>>().join(", ")
}
