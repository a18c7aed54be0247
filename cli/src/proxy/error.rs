//! The errors with which the proxy does not start, or stops.

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
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The configured address.
        address: String,
        /// The system's error, or why the socket is not usable.
        reason: String,
    },
    /// systemd passed no socket of the configured name.
    #[error("systemd handed over no socket named {name}{}", if found.is_empty() { String::new() } else { format!(" (it gave {})", first_few(found, ", ")) })]
    NotHandedOver {
        /// The configured name.
        name: String,
        /// The names of the sockets that were passed.
        found: Vec<String>,
    },
    /// The file of a caller token cannot be used.
    #[error("the caller token {} cannot be used: {reason}", path.display())]
    CallerToken {
        /// The file.
        path: PathBuf,
        /// What is wrong with the file.
        reason: String,
    },
    /// The file of the access log cannot be opened.
    #[error("the access log {} cannot be opened: {source}", path.display())]
    AccessLog {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Threads, timers, sockets or signal handlers are not available.
    #[error("the system does not give what a server needs: {0}")]
    System(#[source] io::Error),
    /// An error in the configuration, at a reload.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An error of token, key, certificate or the signer process.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// An error of the TLS configuration.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An error of the client for the hub.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl ProxyError {
    fn source_diagnostic(&self) -> Option<&dyn Diagnostic> {
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
        self.source_diagnostic()
            .map_or(ExitCode::Configuration, Diagnostic::exit_code)
    }

    fn is_transient(&self) -> bool {
        match self {
            // Threads, memory or descriptors may become free again.
            Self::System(_) => true,
            Self::AccessLog { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ),
            _ => self
                .source_diagnostic()
                .is_some_and(Diagnostic::is_transient),
        }
    }
}
