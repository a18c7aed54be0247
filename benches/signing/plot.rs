//! The picture of a run: an SVG of plain bars, readable on light and on dark.

use crate::results::{HandshakeRow, Results};
use crate::scenarios::{IN_MEMORY, NGINX, PRODUCT, RAW, STUNNEL};

/// Of every picture.
pub const WIDTH: usize = 760;
const LABELS: usize = 230;
const BARS: usize = 440;
const STEP: usize = 24;

/// Readable on light and on dark.
pub const STYLE: &str = "<style>\n\
    text { font: 13px sans-serif; fill: #222 }\n\
    .title { font-weight: bold }\n\
    .own { fill: #2563eb } .other { fill: #9ca3af }\n\
    .limit { stroke: #b91c1c; stroke-width: 2 }\n\
    @media (prefers-color-scheme: dark) {\n\
    text { fill: #ddd } .own { fill: #60a5fa } .other { fill: #6b7280 } .limit { stroke: #f87171 }\n\
    }\n</style>\n";

struct Bar<'a> {
    label: &'a str,
    value: f64,
    limit: Option<f64>,
    own: bool,
}

/// Draws what the tables say at 8 connections, and the slow tokens.
pub fn draw(results: &Results) -> String {
    let mut body = String::new();
    let mut y = 0;
    for key in ["RSA-2048", "P-256"] {
        let title =
            format!("{key}: client's CPU per new connection, us, 8 connections (less is better)");
        let bars = at_eight(results, key, |rate| rate.cpu_micros);
        panel(&mut body, &mut y, &title, &bars);
    }
    for key in ["RSA-2048", "P-256"] {
        let title = format!("{key}: new connections per second, 8 connections");
        let bars = at_eight(results, key, |rate| rate.per_second);
        panel(&mut body, &mut y, &title, &bars);
    }
    let mut bars = Vec::new();
    let labels: Vec<_> = results
        .slow_tokens
        .rows
        .iter()
        .map(|row| {
            format!(
                "{}: {}",
                row.token.trim_start_matches("C_Sign "),
                row.client
            )
        })
        .collect();
    for (row, label) in results.slow_tokens.rows.iter().zip(&labels) {
        if let Some(rate) = &row.rate {
            bars.push(Bar {
                label,
                value: rate.per_second,
                limit: row.limit_per_second,
                own: row.client == PRODUCT,
            });
        }
    }
    let title = "A slow token: new connections per second, 32 connections; the line is the token's own limit";
    panel(&mut body, &mut y, title, &bars);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" width=\"{WIDTH}\" height=\"{y}\" role=\"img\">\n\
         <title>What hsm-mtls costs beside other clients of the same token</title>\n{STYLE}{body}</svg>\n"
    )
}

fn at_eight<'a>(
    results: &'a Results,
    key: &str,
    value: impl Fn(&crate::results::Rate) -> f64,
) -> Vec<Bar<'a>> {
    let row = |client: &str| -> Option<&'a HandshakeRow> {
        let mut rows = results.handshakes.iter();
        rows.find(|row| (row.key, row.connections, row.client) == (key, 8, client))
    };
    let rows = [IN_MEMORY, RAW, PRODUCT, NGINX, STUNNEL].map(row);
    let bar = |row: &'a HandshakeRow| {
        Some(Bar {
            label: row.client,
            value: value(row.measured.as_ref()?),
            limit: None,
            own: row.client == PRODUCT,
        })
    };
    rows.into_iter().flatten().filter_map(bar).collect()
}

fn panel(body: &mut String, y: &mut usize, title: &str, bars: &[Bar<'_>]) {
    let most = |most: f64, bar: &Bar<'_>| most.max(bar.value).max(bar.limit.unwrap_or(0.0));
    let most = bars.iter().fold(1.0, most);
    let length = |value: f64| (value / most * BARS as f64).round();
    *y += STEP;
    *body += &format!("<text class=\"title\" x=\"8\" y=\"{y}\">{title}</text>\n");
    for bar in bars {
        *y += STEP;
        let (top, long) = (*y - 14, length(bar.value));
        let class = if bar.own { "own" } else { "other" };
        let past = LABELS as f64 + long.max(bar.limit.map_or(0.0, length)) + 6.0;
        *body += &format!(
            "<text x=\"{}\" y=\"{y}\" text-anchor=\"end\">{}</text>\
             <rect class=\"{class}\" x=\"{LABELS}\" y=\"{top}\" width=\"{long}\" height=\"16\"/>\
             <text x=\"{past}\" y=\"{y}\">{:.0}</text>\n",
            LABELS - 8,
            bar.label,
            bar.value,
        );
        if let Some(limit) = bar.limit {
            let x = LABELS as f64 + length(limit);
            *body += &format!(
                "<line class=\"limit\" x1=\"{x}\" x2=\"{x}\" y1=\"{top}\" y2=\"{}\"/>\n",
                top + 16
            );
        }
    }
    *y += STEP / 2;
}
