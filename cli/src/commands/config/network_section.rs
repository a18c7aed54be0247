//! `config check` of `[network]`: which way connections take, and a variable of the environment that is ignored.

use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::config::network::credentials::CredentialsSource;
use hsm_mtls::internal::config::network::{ForwardProxyConfig, ResolvedBy};
use serde_json::{Value, json};

use super::path_and_access;

/// The section's values, as names and values. None where nothing is configured.
pub(super) fn rows(config: &Config) -> Vec<(&'static str, String)> {
    let network = &config.network;
    let mut rows = Vec::new();
    if let Some(proxy) = &network.proxy {
        rows.push(("forward proxy", described(proxy)));
        let resolved = match network.resolve {
            ResolvedBy::Proxy => "by the forward proxy, which is sent the name",
            ResolvedBy::Local => "here: the forward proxy is sent an address",
        };
        rows.push(("the hub's name is resolved", resolved.to_owned()));
    }
    if network.fetch_proxy != network.proxy {
        let fetches = network.fetch_proxy.as_ref().map(described);
        rows.push((
            "forward proxy of fetches",
            fetches.unwrap_or_else(|| "none".to_owned()),
        ));
    }
    if !network.no_proxy.is_empty() {
        rows.push(("without forward proxy", network.no_proxy.to_string()));
    }
    let source = network.source_address;
    rows.extend(source.map(|address| ("connections from", address.to_string())));
    rows
}

fn described(proxy: &ForwardProxyConfig) -> String {
    let mut text = proxy.url.to_string();
    if let Some(variable) = proxy.variable {
        text.push_str(&format!(" (of the variable {variable})"));
    }
    match &proxy.credentials {
        Some(CredentialsSource::File(path)) => {
            text.push_str(&format!(
                ", credentials from file {}",
                path_and_access(path)
            ));
        }
        Some(source) => text.push_str(&format!(", credentials from {source}")),
        None => {}
    }
    if let Some(path) = &proxy.anchors {
        text.push_str(&format!(", roots in {}", path_and_access(path)));
    }
    text
}

/// A note where a variable of the environment names a forward proxy, and the configuration says nothing of one.
pub(super) fn notes(config: &Config) -> Vec<String> {
    let ignored = config.network.ignored_variable.into_iter();
    let note = |variable| {
        format!(
            "the environment variable {variable} is ignored: where the hub is to be reached through its forward proxy, write \
             proxy = \"environment\" in [network]; proxy = \"direct\" ends this note"
        )
    };
    ignored.map(note).collect()
}

/// The same values in the command's JSON.
pub(super) fn as_json(config: &Config) -> Value {
    let network = &config.network;
    let proxy = |proxy: &ForwardProxyConfig| {
        json!({
            "url": proxy.url.to_string(),
            "variable": proxy.variable,
            "credentials": proxy.credentials.as_ref().map(ToString::to_string),
            "anchors": proxy.anchors,
        })
    };
    json!({
        "proxy": network.proxy.as_ref().map(proxy),
        "fetch_proxy": network.fetch_proxy.as_ref().map(proxy),
        "no_proxy": network.no_proxy.to_string(),
        "resolve": network.resolve.as_str(),
        "source_address": network.source_address.map(|address| address.to_string()),
        "ignored_variable": network.ignored_variable,
    })
}
