//! The page of a report: one file, with its charts as SVG.

use std::fmt::Write;

use super::{Row, Summary};

/// Size of a chart, in pixels.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
/// Room for the axes' labels.
const LEFT: f64 = 56.0;
const BELOW: f64 = 40.0;
const EDGE: f64 = 12.0;

/// The page.
pub(super) fn page(summary: &Summary<'_>, rows: &[Row]) -> String {
    let name = summary.header.metric.name();
    let title = escaped(&summary.header.title);
    let points = |x: &dyn Fn(&Row, u64) -> f64| {
        let mut bytes = 0;
        let mut points = Vec::new();
        for row in rows {
            bytes += row.bytes();
            points.extend(row.metric.map(|metric| (x(row, bytes), metric)));
        }
        points
    };
    let charts = [
        ("round", points(&|row, _| row.round as f64)),
        ("megabytes up and down", points(&|_, bytes| bytes as f64 / 1e6)),
        ("simulated seconds", points(&|row, _| row.seconds)),
    ];
    let charts =
        charts.iter().map(|(axis, points)| chart(name, axis, points, summary.header.target));
    let charts: String = charts.collect();
    let value = |of: Option<f64>| of.map_or_else(|| "none".to_owned(), |of| format!("{of:.4}"));
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
         padding:1rem}}text{{font:12px system-ui,sans-serif;fill:#57606a}}</style>\n\
         <h1>{title}</h1>\n<table>\
         <tr><th>Clients</th><td>{clients}</td></tr>\
         <tr><th>Parameters</th><td>{parameters}</td></tr>\
         <tr><th>Rounds</th><td>{rounds}</td></tr>\
         <tr><th>{name}, last and best</th><td>{last}, {best}</td></tr>{reached}{epsilon}\
         <tr><th>Up and down</th><td>{up:.2} MB, {down:.2} MB</td></tr>\
         <tr><th>Simulated time</th><td>{seconds:.1} s, in {wall:.1} s on this machine</td></tr>\
         <tr><th>Seed</th><td>{seed}</td></tr>\
         <tr><th>Last model</th><td><code>{model}</code></td></tr></table>\n{charts}\
         <h2>Experiment</h2>\n<pre>{text}</pre>\n</html>\n",
        clients = summary.header.clients,
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

/// A metric over something, with the target as a line.
fn chart(name: &str, axis: &str, points: &[(f64, f64)], target: Option<f64>) -> String {
    if points.is_empty() {
        return String::new();
    }
    let ys = || points.iter().map(|(_, y)| *y).chain(target);
    let (low, high) = (ys().fold(f64::INFINITY, f64::min), ys().fold(f64::NEG_INFINITY, f64::max));
    let (low, high) = if high > low { (low, high) } else { (low - 0.5, high + 0.5) };
    let far = points.iter().map(|(x, _)| *x).fold(f64::MIN_POSITIVE, f64::max);
    let at_x = |x: f64| LEFT + x / far * (WIDTH - LEFT - EDGE);
    let at_y = |y: f64| EDGE + (high - y) / (high - low) * (HEIGHT - EDGE - BELOW);
    let mut svg = format!(
        "<h2>{name} over {axis}</h2>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"{name} over {axis}\">"
    );
    for step in 0..=4 {
        let share = f64::from(step) / 4.0;
        let (y, x) = (low + share * (high - low), share * far);
        let _ = write!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#d8dee4\"/>\
             <text x=\"{label}\" y=\"{text:.1}\" text-anchor=\"end\">{y:.3}</text>\
             <text x=\"{below:.1}\" y=\"{under}\" text-anchor=\"middle\">{x}</text>",
            right = WIDTH - EDGE,
            at = at_y(y),
            label = LEFT - 6.0,
            text = at_y(y) + 4.0,
            below = at_x(x).min(WIDTH - EDGE - 12.0),
            under = HEIGHT - 18.0,
            x = rounded(x),
        );
    }
    if let Some(target) = target {
        let _ = write!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#8250df\" \
             stroke-dasharray=\"4 4\"/>",
            right = WIDTH - EDGE,
            at = at_y(target),
        );
    }
    let path: String =
        points.iter().map(|(x, y)| format!("{:.1},{:.1} ", at_x(*x), at_y(*y))).collect();
    let _ = writeln!(
        svg,
        "<polyline fill=\"none\" stroke=\"#0969da\" stroke-width=\"2\" points=\"{}\"/></svg>",
        path.trim_end()
    );
    svg
}

/// A number of an axis, with three figures.
fn rounded(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
