//! The only calls of C_Login and C_LoginUser (ARCHITECTURE.md, invariant 6).

use cryptoki::session::UserType;
use secrecy::ExposeSecret as _;

use crate::token::fault::Fault;
use crate::token::pin::Pin;
use crate::token::session_call::SessionCall;

/// C_LoginUser if the user has a name, else C_Login. Without a PIN, the token's protected authentication path asks for it.
#[expect(
    clippy::disallowed_methods,
    reason = "the PIN guard has decided that the PIN may be sent"
)]
pub(super) fn call_login(
    session: &SessionCall<'_>,
    user: UserType,
    user_name: Option<&str>,
    pin: Option<&Pin>,
) -> Result<(), Fault> {
    match user_name {
        Some(name) => {
            let pin = pin.map(|pin| pin.text.expose_secret().as_bytes());
            session.login_user(user, pin, name)
        }
        None => session
            .login(user, pin.map(|pin| &pin.text))
            .map_err(Fault::of),
    }
}
