//! The page of a report: one file, with its charts as SVG.

use super::chart::{Series, chart, escaped};
use super::{Row, Summary, figure};

/// The page.
pub(super) fn page(summary: &Summary<'_>, rows: &[Row]) -> String {
    let name = summary.header.metric.name();
    let title = escaped(&summary.header.title);
    let points = |x: &dyn Fn(&Row, u64) -> f64| {
        let mut bytes = 0;
        let mut points = Vec::new();
        for row in rows {
            bytes += row.bytes();
            let metric = row.metric.filter(|metric| metric.is_finite());
            points.extend(metric.map(|metric| (x(row, bytes), metric)));
        }
        points
    };
    let charts = [
        ("round", points(&|row, _| row.round as f64)),
        ("megabytes up and down", points(&|_, bytes| bytes as f64 / 1e6)),
        ("simulated seconds", points(&|row, _| row.seconds)),
    ];
    let target = summary.header.target;
    let charts = charts.into_iter().map(|(axis, points)| {
        let series = [Series { name: name.to_owned(), points }];
        format!("<h2>{name} over {axis}</h2>\n{}", chart(name, axis, &series, target))
    });
    let charts: String = charts.collect();
    let value = |of: Option<f64>| of.map_or_else(|| "none".to_owned(), figure);
    let order = match summary.header.metric.is_better(0.0, 1.0) {
        true => "less is better",
        false => "more is better",
    };
    let reached = summary.reached.map_or_else(String::new, |reached| {
        format!(
            "<tr><th>Target reached</th><td>round {}, {:.2} MB, {:.1} s</td></tr>",
            reached.round,
            reached.bytes as f64 / 1e6,
            reached.seconds
        )
    });
    let epsilon = summary.epsilon.map_or_else(String::new, |epsilon| {
        format!("<tr><th>Epsilon spent</th><td>{epsilon:.3}</td></tr>")
    });
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;\
         padding:0 1rem;color:#1b1f24;background:#fff}}th{{text-align:left;padding-right:1.5rem;\
         font-weight:600}}svg{{max-width:100%;height:auto}}pre{{overflow-x:auto;background:#f4f5f7;\
         padding:1rem}}</style>\n\
         <h1>{title}</h1>\n<table>\
         <tr><th>Clients</th><td>{clients}</td></tr>\
         <tr><th>Parameters</th><td>{parameters}</td></tr>\
         <tr><th>Rounds</th><td>{rounds}</td></tr>\
         <tr><th>{name}, last and best</th><td>{last}, {best} ({order})</td></tr>{reached}{epsilon}\
         <tr><th>Up and down</th><td>{up:.2} MB, {down:.2} MB</td></tr>\
         <tr><th>Simulated time</th><td>{seconds:.1} s, in {wall:.1} s on this machine</td></tr>\
         <tr><th>Seed</th><td>{seed}</td></tr>\
         <tr><th>Last model</th><td><code>{model}</code></td></tr></table>\n{charts}\
         <h2>Experiment</h2>\n<pre>{text}</pre>\n</html>\n",
        clients = summary.clients,
        parameters = summary.header.parameters,
        rounds = summary.rounds,
        last = value(summary.last),
        best = value(summary.best),
        up = summary.bytes_up as f64 / 1e6,
        down = summary.bytes_down as f64 / 1e6,
        seconds = summary.seconds,
        wall = summary.wall_seconds,
        seed = summary.header.seed,
        model = summary.model,
        text = escaped(&summary.header.text),
    )
}
