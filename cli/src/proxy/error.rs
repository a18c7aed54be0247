//! Why the proxy cannot start.

use std::io;
use std::path::PathBuf;

use thiserror::Error as ThisError;

use hsm_mtls::internal::client::ClientError;
use hsm_mtls::internal::config::ConfigError;
use hsm_mtls::internal::diagnostic::Diagnostic;
use hsm_mtls::internal::exit_code::ExitCode;
use hsm_mtls::internal::signer::SignerError;
use hsm_mtls::internal::tls::TlsError;
use hsm_mtls::internal::truncated_list::first_few;

/// Why the proxy cannot start, or cannot go on.
#[derive(Debug, ThisError)]
pub enum ProxyError {
    /// There is no `[proxy]`.
    #[error("the configuration has no [proxy]")]
    NotConfigured,
    /// A socket cannot be listened on.
    #[error("cannot listen on {place}: {why}")]
    Listen {
        /// Where.
        place: String,
        /// What the system said.
        why: String,
    },
    /// systemd handed over no such socket.
    #[error("systemd handed over no socket named {name}{}", if found.is_empty() { String::new() } else { format!(" (it gave {})", first_few(found, ", ")) })]
    NotHandedOver {
        /// The name that is configured.
        name: String,
        /// The names that came.
        found: Vec<String>,
    },
    /// A caller token cannot be used.
    #[error("the caller token {} cannot be used: {why}", path.display())]
    CallerToken {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The access log cannot be written.
    #[error("the access log {} cannot be opened: {source}", path.display())]
    AccessLog {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system gives no threads, timers or signals.
    #[error("the system does not give what a server needs: {0}")]
    System(#[source] io::Error),
    /// The configuration, at a reload.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Token, key or certificate, or the signer process.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The TLS configuration.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The client of the hub.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl ProxyError {
    fn of_stage(&self) -> Option<&dyn Diagnostic> {
        match self {
            Self::Config(error) => Some(error),
            Self::Signer(error) => Some(error),
            Self::Tls(error) => Some(error),
            Self::Client(error) => Some(error),
            _ => None,
        }
    }
}

impl Diagnostic for ProxyError {
    fn hint(&self) -> String {
        match self {
            Self::Config(error) => error.hint(),
            Self::Signer(error) => error.hint(),
            Self::Tls(error) => error.hint(),
            Self::Client(error) => error.hint(),
            Self::NotConfigured => {
                "add [proxy] with a [[proxy.listener]]: docs/proxy.md has an example".to_owned()
            }
            Self::Listen { .. } => {
                "check that nothing else listens there, and that this user may; a folder for sockets belongs to the service (RuntimeDirectory= of systemd)".to_owned()
            }
            Self::NotHandedOver { .. } => {
                "give the socket unit FileDescriptorName=, and start the service through it".to_owned()
            }
            Self::CallerToken { .. } => {
                "make a file of mode 600 that this user owns, with 20 to 200 letters, digits, - or _ in it: `openssl rand -hex 32` prints such a token".to_owned()
            }
            Self::AccessLog { .. } => {
                "check the folder and its owner, or write access_log = \"stdout\"; \"off\" switches it off".to_owned()
            }
            Self::System(_) => "look at the limits of this service (LimitNOFILE=, TasksMax=)".to_owned(),
        }
    }

    fn exit_code(&self) -> ExitCode {
        self.of_stage()
            .map_or(ExitCode::Configuration, Diagnostic::exit_code)
    }

    fn is_transient(&self) -> bool {
        match self {
            // Threads, memory, descriptors: others give them back.
            Self::System(_) => true,
            Self::AccessLog { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ),
            _ => self.of_stage().is_some_and(Diagnostic::is_transient),
        }
    }
}
