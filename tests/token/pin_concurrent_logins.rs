//! Law 6 within a process: however many threads and handshakes need a login at once, a wrong PIN is sent once.

use std::sync::Arc;

use crate::common::bank::config_of_child;
use crate::common::chaos::Chaos;
use crate::common::trust_framework::write_file;
use crate::common::wrong_pin::{right, with_wrong_pin};
use bytes::Bytes;
use hsm_mtls::internal::client::Client;
use hsm_mtls::internal::config::pin::PinSource;
use hsm_mtls::internal::diagnostic::Diagnostic as _;
use hsm_mtls::internal::ledger::Recorder;
use hsm_mtls::internal::token::guard::Attendance;
use hsm_mtls::internal::token::{Role, Token};
use http::{HeaderMap, Method};
use tokio::task::JoinSet;
use url::Url;

const HANDSHAKES: usize = 200;

#[test]
fn two_hundred_clients_of_one_process_send_a_wrong_pin_once() {
    if let Some(config) = config_of_child() {
        concurrently(move || {
            let config = config.clone();
            async move {
                let opened = tokio::task::spawn_blocking(move || {
                    Client::open(&config, Attendance::Unattended)
                });
                let error = opened.await.unwrap().err().unwrap();
                assert_eq!(error.exit_code() as u8, 4, "{error}");
            }
        });
        return;
    }
    let (bank, chaos, hub, _wrong) = with_wrong_pin("without CKF_USER_PIN_COUNT_LOW");
    chaos.run_test(
        &bank,
        two_hundred_clients_of_one_process_send_a_wrong_pin_once,
        &[],
    );
    assert_eq!(chaos.calls("C_Login"), 1);
    assert!(hub.connections().is_empty());
}

/// A key that wants the PIN before each signature, at a token that begins to refuse it.
#[test]
fn two_hundred_handshakes_send_a_pin_once_that_is_refused() {
    if let Some(config) = config_of_child() {
        // The login, then the proof's.
        let client = Client::open(&config, Attendance::Unattended).unwrap();
        let url: Arc<Url> = Arc::new(
            format!("{}/hello-mtls", config.hub.services[0].origin)
                .parse()
                .unwrap(),
        );
        concurrently(move || {
            let (client, url) = (client.clone(), Arc::clone(&url));
            async move {
                let answer = client.request(Method::GET, &url, HeaderMap::new(), Bytes::new());
                let error = answer.await.err().unwrap();
                assert_eq!(error.exit_code() as u8, 4, "{error}");
                assert!(error.to_string().contains("CKR_PIN_INCORRECT"), "{error}");
            }
        });
        return;
    }
    let (mut bank, chaos, _hub, _wrong) =
        // It takes its time for the refusal, so that all the others wait.
        with_wrong_pin("always-authenticate\ndelay C_Login 3 500ms\nfail C_Login 3.. CKR_PIN_INCORRECT");
    let good = bank.token.pin_file();
    bank.configure(|settings| settings.pin = format!("{{ file = \"{}\" }}", good.display()));
    chaos.run_test(
        &bank,
        two_hundred_handshakes_send_a_pin_once_that_is_refused,
        &[],
    );
    assert_eq!(chaos.calls("C_Login"), 2 + 1);
    // What was refused for a signature is not good for a login either.
    chaos.plan("");
    chaos.run(&bank, &["key", "list"]).expect(4);
    assert_eq!(chaos.calls("C_Login"), 2 + 1);
}

fn concurrently<F: Future<Output = ()> + Send + 'static>(task: impl Fn() -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(64)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for _ in 0..HANDSHAKES {
            tasks.spawn(task());
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    });
}

/// A running client whose PIN was changed at the token: once the source follows, it goes on.
#[test]
fn a_running_client_looks_at_the_source_again() {
    if let Some(config) = config_of_child() {
        let chaos = Chaos::of_child();
        let token = Token::open(&config.token, Attendance::Unattended, Recorder::NONE).unwrap();
        chaos.plan("fail C_Login all CKR_PIN_INCORRECT\nwithout CKF_USER_PIN_COUNT_LOW");
        for said in ["the token refused the PIN", "no PIN was sent"] {
            let error = token.log_in(Role::User).unwrap_err().to_string();
            assert!(error.starts_with(said), "{error}");
        }
        // SoftHSM takes one PIN only, so it is the same one in a new file that stands for the next:
        // this process knows that it was refused, whatever file it comes from.
        let PinSource::File(pin) = &config.token.pin else {
            panic!("{:?}", config.token.pin);
        };
        let text = std::fs::read_to_string(pin).unwrap();
        write_file(pin, &format!("{text}-new"), 0o600);
        chaos.plan("fail C_Login all CKR_USER_ALREADY_LOGGED_IN\nwithout CKF_USER_PIN_COUNT_LOW");
        token.log_in(Role::User).unwrap();
        return;
    }
    let (mut bank, chaos, _hub, wrong) = with_wrong_pin("");
    write_file(&wrong, &right(&bank), 0o600);
    bank.configure(|settings| settings.token_lines = "login = \"always\"".to_owned());
    chaos.run_test(&bank, a_running_client_looks_at_the_source_again, &[]);
    assert_eq!(chaos.calls("C_Login"), 3);
}
