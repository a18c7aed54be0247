//! `[network]` is read as it is documented, and a password that is written in a wrong place is not repeated.

use super::*;

fn parse(text: &str) -> Result<NetworkConfig, String> {
    let file: NetworkFile = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    let checked = file.checked(Path::new("/etc/bank"), false);
    checked.map_err(|(field, message)| format!("{field}: {message}"))
}

#[test]
fn fetches_go_the_way_of_the_hub_unless_they_have_their_own() {
    let network =
        parse("proxy = 'http://Proxy.Bank:3128'\nproxy_credentials = { file = 'fp' }").unwrap();
    let proxy = network.proxy.clone().unwrap();
    assert_eq!(proxy.url.to_string(), "http://proxy.bank:3128");
    assert_eq!(
        proxy.credentials,
        Some(CredentialsSource::File("/etc/bank/fp".into()))
    );
    assert_eq!(network.fetch_proxy, network.proxy);
    assert_eq!(network.resolve, ResolvedBy::Proxy);
    let network = parse("proxy = 'http://p:3128'\nfetch_proxy = 'direct'").unwrap();
    assert!(network.proxy.is_some() && network.fetch_proxy.is_none());
    let network = parse("fetch_proxy = 'https://p:3129'\nproxy_anchors = 'a.pem'").unwrap();
    assert!(network.proxy.is_none() && network.fetch_proxy.unwrap().url.is_https);
    // Credentials of one are not those of the other.
    let network = parse(
        "proxy = 'http://p:1'\nproxy_credentials = { env = 'A' }\nfetch_proxy = 'http://q:1'",
    );
    assert_eq!(network.unwrap().fetch_proxy.unwrap().credentials, None);
}

#[test]
fn a_host_is_left_out_by_name_domain_address_and_network() {
    let network = parse(
        "proxy = 'http://p:1'\nno_proxy = ['Hub.bank', '.internal', '10.0.0.0/8', '::1', '2001:db8::/32', '[fd00::/8]', 'a.b:8443', '192.0.2.1:1']",
    )
    .unwrap();
    for (host, port, direct) in [
        ("hub.bank", 443, true),
        ("sub.hub.bank", 443, false),
        ("internal", 443, true),
        ("cm.internal", 443, true),
        ("cminternal", 443, false),
        ("10.1.2.3", 443, true),
        ("11.1.2.3", 443, false),
        ("::1", 443, true),
        ("2001:db8:7::1", 443, true),
        ("2001:db9::1", 443, false),
        ("fd12::1", 8443, true),
        ("::2", 443, false),
        ("a.b", 8443, true),
        ("a.b", 443, false),
        ("192.0.2.1", 1, true),
        ("192.0.2.1", 2, false),
    ] {
        assert_eq!(
            network.proxy_for(host, port).is_none(),
            direct,
            "{host}:{port}"
        );
    }
    assert!(
        parse("proxy = 'http://p:1'\nno_proxy = ['*']")
            .unwrap()
            .proxy_for("a", 1)
            .is_none()
    );
    let mut of_variable = NoProxy::default();
    of_variable.add_variable(Some("bank, .corp,10.0.0.0/99 http://x".to_owned()));
    assert!(of_variable.covers("hub.bank", 1) && of_variable.covers("bank", 1));
    assert!(of_variable.covers("a.corp", 1) && !of_variable.covers("10.0.0.1", 1));
}

#[test]
fn what_is_wrong_is_told_without_a_password() {
    for text in [
        "proxy = 'http://a:s3cret@p:3128'",
        "proxy = 's3cret'",
        "proxy = ['s3cret']",
        "proxy = 'socks5://a:s3cret@p:1080'",
        "proxy = 'http://p:3128/s3cret'",
        "proxy = 'http://p:1'\nproxy_credentials = 'a:s3cret'",
        "proxy = 'http://p:1'\nproxy_credentials = { s3cret = 'a' }",
        "proxy = 'http://p:1'\nproxy_credentials = { file = ['s3cret'] }",
        "proxy = 'http://p:1'\nproxy_credentials = { command = ['/bin/s3cret'] }",
        "proxy = 'http://p:1'\nproxy_credentials = { file = 'a', env = 's3cret' }",
        "proxy_credentials = { file = 's3cret' }",
        "proxy = 'direct'\nproxy_credentials = { file = 's3cret' }",
        "proxy = 'http://p:1'\nfetch_proxy_credentials = { file = 's3cret' }",
        "proxy = 'http://p:1'\nproxy_anchors = 's3cret'",
        "no_proxy = ['a:s3cret']",
        "resolve = 'dns'",
        "source_address = 'eth0'",
    ] {
        let message = parse(text).expect_err(text);
        assert!(!message.contains("s3cret"), "{message}");
    }
    let file: NetworkFile =
        toml::from_str("proxy = 'http://p:1'\nproxy_credentials = { env = 'A' }").unwrap();
    let (field, _) = file.checked(Path::new("/"), true).unwrap_err();
    assert_eq!(field, "proxy_credentials");
}
