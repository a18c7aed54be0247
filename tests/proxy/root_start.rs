//! Root starts no proxy of which the signer or the front end would stay root, unless the configuration accepts it; other
//! commands of root say so, since another user may start the proxy.

use std::fs;
use std::os::unix::fs::chown;

use crate::common::service_users::{FRONT_END, SIGNER, give, mode};
use crate::same_user::{ACCEPTED, scene};

/// A process without a user of its own would have all that root has.
#[test]
fn root_starts_no_process_that_stays_root() {
    let mut scene = scene();
    for name in ["log", "state"] {
        give(&scene.bank.path(name), 0);
    }
    let token = scene.bank.path("caller-token");
    chown(&token, Some(0), Some(FRONT_END.1)).unwrap();
    mode(&token, 0o640);
    scene.accept(false);
    let plain = fs::read_to_string(scene.bank.config_path()).unwrap();
    let signer = format!("[signer]\nuser = \"{}\"\n", SIGNER.0);
    let front_end = format!("[proxy]\nuser = \"{}\"\n", FRONT_END.0);
    for (text, missing) in [
        (
            plain.clone(),
            "the signer, which has the module and the PIN, and the front end, which parses the network, would stay root: \
             `user` of [signer] and `user` of [proxy] is not set",
        ),
        (
            format!("{plain}{signer}"),
            "the front end, which parses the network, would stay root: `user` of [proxy] is not set",
        ),
        (
            plain.replace("[proxy]\n", &front_end),
            "the signer, which has the module and the PIN, would stay root: `user` of [signer] is not set",
        ),
    ] {
        let names_front_end = text.contains(&front_end);
        mode(&token, if names_front_end { 0o640 } else { 0o600 });
        give(
            &scene.bank.path("log"),
            if names_front_end { FRONT_END.1 } else { 0 },
        );
        give(
            &scene.bank.path("state"),
            if text.contains(&signer) { SIGNER.1 } else { 0 },
        );
        let pin = scene.bank.token.pin_file();
        let owner = if text.contains(&signer) { SIGNER.1 } else { 0 };
        give(pin.parent().unwrap(), owner);
        scene.bank.write("bank.toml", &text);
        let refused = scene.bank.run(&["proxy"]).expect(2);
        let said: Vec<_> = refused.stderr.split_whitespace().collect();
        let said = said.join(" ");
        for told in [
            missing,
            "user = \"hsm-mtls\" in [signer] and user = \"hsm-mtls-front-end\" in [proxy]",
            "accept_same_user = true in [proxy]",
        ] {
            assert!(said.contains(told), "{told}: {said}");
        }
        // Another user may start the proxy.
        let check = scene.bank.run(&["config", "check"]).expect(0);
        let words: Vec<_> = check.stdout.split_whitespace().collect();
        let words = words.join(" ");
        assert!(words.contains(missing), "{words}");
        for told in [
            "between these stand Landlock and seccomp only",
            "root cannot start it so",
        ] {
            assert!(words.contains(told), "{told}: {words}");
        }
        let json = scene
            .bank
            .run(&["config", "check", "--json"])
            .expect(0)
            .json();
        let users = &json["configurations"][0]["proxy"]["users"];
        assert_eq!(users["separate"], false, "{users}");

        let accepted = text.replace("[proxy]\n", &format!("[proxy]\n{ACCEPTED}"));
        scene.bank.write("bank.toml", &accepted);
        let json = scene
            .bank
            .run(&["config", "check", "--json"])
            .expect(0)
            .json();
        let proxy = &json["configurations"][0]["proxy"];
        assert_eq!(
            (&proxy["users"]["separate"], &proxy["notes"]),
            (&false.into(), &serde_json::json!([]))
        );
    }
    // One user for both is no wall either.
    for (both, separate) in [(SIGNER, false), (FRONT_END, true)] {
        give(&scene.bank.path("log"), both.1);
        give(&scene.bank.path("state"), SIGNER.1);
        chown(&token, Some(0), Some(both.1)).unwrap();
        mode(&token, 0o640);
        give(scene.bank.token.pin_file().parent().unwrap(), SIGNER.1);
        let own = front_end.replace(FRONT_END.0, both.0);
        let text = format!("{}{signer}", plain.replace("[proxy]\n", &own));
        scene.bank.write("bank.toml", &text);
        let json = scene
            .bank
            .run(&["config", "check", "--json"])
            .expect(0)
            .json();
        let proxy = &json["configurations"][0]["proxy"];
        assert_eq!(proxy["users"]["separate"], separate, "{proxy}");
        let notes = proxy["notes"].to_string();
        assert_eq!(
            notes.contains("would run as user daemon, who owns"),
            !separate,
            "{notes}"
        );
    }
}
