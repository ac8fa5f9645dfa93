//! Line charts as SVG.

use std::fmt::Write;

/// Size of a chart, in pixels, without its legend.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
/// Room for the axes' labels.
const LEFT: f64 = 56.0;
const BELOW: f64 = 40.0;
const EDGE: f64 = 12.0;
/// Height of a line of the legend.
const LINE: f64 = 18.0;
/// Colours that people who see few of them can tell apart (Okabe and Ito 2008).
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c8c8c"];

/// A line of a chart.
pub(crate) struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Points from left to right.
    pub points: Vec<(f64, f64)>,
}

/// A chart of some lines; empty without a point. `target` is a broken line across.
pub(crate) fn chart(title: &str, axis: &str, series: &[Series], target: Option<f64>) -> String {
    let points = || series.iter().flat_map(|of| &of.points);
    if points().next().is_none() {
        return String::new();
    }
    let ys = || points().map(|(_, y)| *y).chain(target);
    let (low, high) = (ys().fold(f64::INFINITY, f64::min), ys().fold(f64::NEG_INFINITY, f64::max));
    let (low, high) = if high > low { (low, high) } else { (low - 0.5, high + 0.5) };
    // Three figures of the range of the axis.
    let decimals = (2.0 - (high - low).log10().floor()).clamp(0.0, 9.0) as usize;
    let far = points().map(|(x, _)| *x).fold(f64::MIN_POSITIVE, f64::max);
    let at_x = |x: f64| LEFT + x / far * (WIDTH - LEFT - EDGE);
    let at_y = |y: f64| EDGE + (high - y) / (high - low) * (HEIGHT - EDGE - BELOW);
    let legend = if series.len() > 1 { series.len() as f64 * LINE } else { 0.0 };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"{title} over {axis}\" font-family=\"sans-serif\" font-size=\"12\" \
         fill=\"#57606a\"><rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>",
        height = HEIGHT + legend,
    );
    for step in 0..=4 {
        let share = f64::from(step) / 4.0;
        let (y, x) = (low + share * (high - low), share * far);
        let _ = write!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#d8dee4\"/>\
             <text x=\"{label}\" y=\"{text:.1}\" text-anchor=\"end\">{y:.decimals$}</text>\
             <text x=\"{below:.1}\" y=\"{under}\" text-anchor=\"middle\">{x}</text>",
            right = WIDTH - EDGE,
            at = at_y(y),
            label = LEFT - 6.0,
            text = at_y(y) + 4.0,
            below = at_x(x).min(WIDTH - EDGE - 12.0),
            under = HEIGHT - 22.0,
            x = rounded(x),
        );
    }
    let _ = write!(
        svg,
        "<text x=\"{middle}\" y=\"{under}\" text-anchor=\"middle\">{axis}</text>",
        middle = (LEFT + WIDTH) / 2.0,
        under = HEIGHT - 6.0,
    );
    if let Some(target) = target {
        let _ = write!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#57606a\" \
             stroke-dasharray=\"4 4\"/>",
            right = WIDTH - EDGE,
            at = at_y(target),
        );
    }
    for (index, Series { name, points }) in series.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let path: String =
            points.iter().map(|(x, y)| format!("{:.1},{:.1} ", at_x(*x), at_y(*y))).collect();
        let _ = write!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"{}\"/>",
            path.trim_end()
        );
        if legend > 0.0 {
            let y = HEIGHT + index as f64 * LINE;
            let _ = write!(
                svg,
                "<line x1=\"{LEFT}\" x2=\"{end}\" y1=\"{y}\" y2=\"{y}\" stroke=\"{colour}\" \
                 stroke-width=\"2\"/><text x=\"{at}\" y=\"{base}\">{name}</text>",
                end = LEFT + 24.0,
                at = LEFT + 32.0,
                base = y + 4.0,
                name = escaped(name),
            );
        }
    }
    svg + "</svg>\n"
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

/// Text for HTML and SVG.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_of_an_error_has_its_figures_and_its_target() {
        for (points, target, labels) in [
            ([(1.0, 0.0009), (2.0, 0.0003)], 0.0002, [">0.000200<", ">0.000900<"]),
            ([(1.0, 25_000.0), (2.0, 120.0)], 100.0, [">100<", ">25000<"]),
            ([(1.0, 0.1), (2.0, 0.9)], 0.95, [">0.100<", ">0.950<"]),
        ] {
            let series = [Series { name: "error".to_owned(), points: points.to_vec() }];
            let svg = chart("error", "round", &series, Some(target));
            assert!(labels.iter().all(|label| svg.contains(label)), "{svg}");
            assert_eq!(svg.matches("stroke-dasharray").count(), 1);
        }
    }
}
