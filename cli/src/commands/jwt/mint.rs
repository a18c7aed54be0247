//! `jwt mint`: signs one token, and prints it where it stays with whoever asked for it.

use std::io::{self, IsTerminal as _};

use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::identity::Identity;
use hsm_mtls::internal::jwt::{Minter, Token};
use hsm_mtls::internal::jwt_claims::{REGISTERED, further_claims};
use hsm_mtls::internal::rfc3339;
use serde_json::{Map, Value, json};

use super::super::{CommandError, Global, output, setup, sig4_certificates, signer, token_process};
use super::{MintArgs, token_input};

pub(super) fn mint(global: &Global, args: MintArgs) -> Result<ExitCode, CommandError> {
    if !global.json && !args.yes_print && io::stdout().is_terminal() {
        return Err(CommandError::usage(
            "a token on a terminal stays in its history, and who has it is the bank for as long as it lives; none was made",
            "send it on through a pipe or into a file, or add --yes-print",
        ));
    }
    match &args.claims {
        None => {
            let config = setup::config(global)?;
            sig4_certificates::view(&config)?;
            let identity =
                signer::identity_of_one_caller(global, &config).map_err(CommandError::stage)?;
            print(global, &args, &config, &identity, Map::new())
        }
        // The policy of a signer process knows the claims that it signs, and no others.
        Some(file) => {
            let further = token_input::read(file, "the claims")?;
            let further = further_claims(&further).map_err(|error| {
                CommandError::usage(
                    format!("{} has no further claims: {error}", file.display()),
                    format!(
                        "write a JSON object of claims without {}: those follow from [sig4] and the certificates",
                        REGISTERED.join(", ")
                    ),
                )
            })?;
            token_process::run(global, |config| {
                sig4_certificates::view(&config)?;
                let identity = Identity::open(&config, setup::attendance());
                let identity = identity.map_err(CommandError::stage)?;
                print(global, &args, &config, &identity, further)
            })
        }
    }
}

fn print(
    global: &Global,
    args: &MintArgs,
    config: &Config,
    identity: &Identity,
    further: Map<String, Value>,
) -> Result<ExitCode, CommandError> {
    let Some(minter) = Minter::new(config, identity) else {
        // The section was there when the command began.
        return Err(CommandError::usage(
            "the signer process has no Sig4 key",
            "run the command again: was the configuration changed meanwhile?",
        ));
    };
    let token = minter.mint_with(further).map_err(CommandError::stage)?;
    if global.json {
        output::json(&as_json(&minter, &token, args.yes_print))?;
    } else {
        output::raw(format!("{}\n", token.expose()).as_bytes())?;
    }
    Ok(ExitCode::Good)
}

fn as_json(minter: &Minter, token: &Token, with_token: bool) -> Value {
    let claims = minter.claim_set();
    let mut object = json!({
        "schema": 0,
        "jti": token.jti(),
        "iat": token.issued_at(),
        "exp": token.expires_at(),
        "issued": rfc3339::of_unix(token.issued_at()),
        "expires": rfc3339::of_unix(token.expires_at()),
        "aud": claims.audience,
        "kid": claims.kid,
    });
    if with_token {
        object["token"] = token.expose().into();
    }
    object
}
