//! `reload = "watch"`: the proxy notices that a certificate, the trust anchors or a CRL were replaced, in each way that programs do
//! that, and takes them as at SIGHUP: proved first.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::common::bank::Settings;
use crate::common::poll::until;
use crate::common::renewal::{Scene, scene};

/// The chain of another certificate for the same key.
fn renewed(scene: &Scene) -> String {
    let environment = scene.chaos.environment();
    let environment: Vec<_> = environment
        .iter()
        .map(|(name, value)| (*name, value.as_path()))
        .collect();
    let request = scene.bank.run_with(&["csr"], &environment).expect(0).stdout;
    scene.bank.framework.issue_client(&request) + &scene.bank.framework.issuing_pem()
}

/// Waits for a reload with this result, and sees to it that there was no other.
fn reloaded(scene: &Scene, good: f64, failed: f64) {
    until("it reloads", || {
        scene.reloads("good") + scene.reloads("failed") >= good + failed
    });
    let (seen, log) = (
        (scene.reloads("good"), scene.reloads("failed")),
        scene.proxy.log(),
    );
    assert_eq!(seen, (good, failed), "{log}");
    scene.three_processes();
}

fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

#[test]
fn what_is_replaced_is_taken_and_what_is_wrong_is_not() {
    let scene = scene("reload = \"watch\"");
    let folder = scene.bank.folder().to_owned();
    let (c3, anchors) = (folder.join("c3.pem"), scene.bank.path("anchors.pem"));
    let first = scene.certificate();

    // Another name in the same folder is nothing to it, nor is the configuration.
    fs::write(folder.join("notes.txt"), "unrelated").unwrap();
    let text = fs::read_to_string(scene.bank.config_path()).unwrap();
    replace(&scene.bank.config_path(), &text);

    let chain = renewed(&scene);
    replace(&c3, &chain);
    reloaded(&scene, 1.0, 0.0);
    let second = scene.certificate();
    assert_ne!(first, second);
    assert!(scene.proxy.log().contains("a file was replaced: reload"));

    // Written in place: what is no certificate is refused, the one in use stays, and what follows is noticed too.
    fs::write(&c3, "no certificate").unwrap();
    reloaded(&scene, 1.0, 1.0);
    assert_eq!(scene.certificate(), second);
    assert_eq!(scene.proxy.get("/cm/consents/1").0, 200);
    let chain = renewed(&scene);
    fs::write(&c3, &chain).unwrap();
    reloaded(&scene, 2.0, 1.0);
    assert_ne!(scene.certificate(), second);

    let bundle = fs::read_to_string(&anchors).unwrap();
    replace(&anchors, &bundle);
    reloaded(&scene, 3.0, 1.0);
    assert_eq!(scene.proxy.get("/cm/consents/1").0, 200);
}

/// As Kubernetes projects a secret: the file is a link into a folder, which another link leads to, and that one is replaced. Then
/// the whole folder is.
#[test]
fn a_link_and_a_folder_on_the_way_that_are_replaced_count() {
    let mut scene = scene("reload = \"watch\"");
    let tls = scene.bank.path("tls");
    let generation = |folder: &Path, chain: &str| {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("c3.pem"), chain).unwrap();
    };
    let mut seen = vec![scene.certificate()];
    let mut taken = |scene: &Scene| {
        reloaded(scene, seen.len() as f64, 0.0);
        let now = scene.certificate();
        assert!(!seen.contains(&now), "{now}");
        seen.push(now);
    };

    generation(&tls.join("..1"), &renewed(&scene));
    symlink("..1", tls.join("..data")).unwrap();
    symlink("..data/c3.pem", tls.join("c3.pem")).unwrap();
    let configure = |settings: &mut Settings| settings.certificate = "tls/c3.pem".to_owned();
    scene.bank.configure(configure);
    scene.proxy.signal("HUP");
    taken(&scene);

    generation(&tls.join("..2"), &renewed(&scene));
    symlink("..2", tls.join("..data_tmp")).unwrap();
    fs::rename(tls.join("..data_tmp"), tls.join("..data")).unwrap();
    taken(&scene);

    let next = scene.bank.path("tls-next");
    generation(&next, &renewed(&scene));
    fs::rename(&tls, scene.bank.path("tls-before")).unwrap();
    fs::rename(&next, &tls).unwrap();
    taken(&scene);

    fs::write(tls.join("c3.pem"), renewed(&scene)).unwrap();
    taken(&scene);
}
