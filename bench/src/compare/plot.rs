//! The picture of a comparison: per row how many times better than stock, on a logarithmic axis, with the spread of the rounds. SVG,
//! written by hand: it needs a few shapes and no library.

use super::servers::System;
use super::table::{Ratio, Table, short};
use std::fmt::Write as _;

const LEFT: f64 = 380.0;
const WIDTH: f64 = 520.0;
const LINE: f64 = 20.0;
const TOP: f64 = 58.0;
/// The axis: from a hundredth of stock to a thousand times stock, less where nothing is there.
const LIMITS: (f64, f64) = (0.01, 1000.0);

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// Draws the table.
pub fn svg(table: &Table, title: &str) -> String {
    let ours = [System::Skiff, System::SkiffEtcd];
    let ratios: Vec<Ratio> = table.0.iter().flat_map(|r| ours.map(|s| r.ratio(s))).flatten().collect();
    let clamp = |x: f64| x.clamp(LIMITS.0, LIMITS.1);
    let low = ratios.iter().map(|r| clamp(r.worst)).fold(0.5, f64::min).log10().floor();
    let high = ratios.iter().map(|r| clamp(r.best)).fold(10.0, f64::max).log10().ceil();
    let x = |ratio: f64| LEFT + WIDTH * (clamp(ratio).log10() - low) / (high - low);
    let parts = table.0.windows(2).filter(|w| w[0].part != w[1].part).count() + 1;
    let height = TOP + LINE * (table.0.len() + parts) as f64 + 24.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{:.0}\" height=\"{height:.0}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n<text x=\"12\" y=\"22\" font-size=\"15\">{}</text>\n\
         <text x=\"12\" y=\"42\" fill=\"#555\">times better than stock; bars: median round, lines: worst to best; \
         <tspan fill=\"#2b6cb0\">embedded store</tspan>, <tspan fill=\"#c05621\">on etcd</tspan></text>\n",
        LEFT + WIDTH + 90.0,
        escape(title),
    );
    for power in low as i32..=high as i32 {
        let value = 10f64.powi(power);
        let (at, color) = (x(value), if power == 0 { "#222" } else { "#ddd" });
        let _ = writeln!(
            out,
            "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{:.1}\" stroke=\"{color}\"/><text x=\"{at:.1}\" y=\"{:.1}\" \
             text-anchor=\"middle\" fill=\"#555\">{value}</text>",
            height - 20.0,
            height - 6.0,
        );
    }
    let (mut y, mut part) = (TOP, "");
    for row in &table.0 {
        if row.part != part {
            part = row.part;
            y += LINE;
            let _ = writeln!(out, "<text x=\"12\" y=\"{:.1}\" font-weight=\"bold\">{}</text>", y - 6.0, escape(part));
        }
        y += LINE;
        let _ = writeln!(out, "<text x=\"24\" y=\"{:.1}\">{}, {}</text>", y - 6.0, escape(&row.what), row.unit);
        for (n, (system, color)) in ours.into_iter().zip(["#2b6cb0", "#c05621"]).enumerate() {
            let Some(r) = row.ratio(system) else { continue };
            let (from, to) = (x(r.median.min(1.0)), x(r.median.max(1.0)));
            let top = y - LINE + 3.0 + 7.0 * n as f64;
            let _ = writeln!(
                out,
                "<rect x=\"{from:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"6\" fill=\"{color}\"/><line x1=\"{:.1}\" y1=\"{:.1}\" \
                 x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#000\" stroke-opacity=\"0.6\"/>",
                to - from,
                x(r.worst),
                top + 3.0,
                x(r.best),
                top + 3.0,
            );
            if system == System::Skiff {
                let _ = writeln!(out, "<text x=\"{:.1}\" y=\"{:.1}\">{} x</text>", LEFT + WIDTH + 12.0, y - 6.0, short(r.median));
            }
        }
    }
    out + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::super::table::Better;
    use super::*;

    #[test]
    fn a_row_is_a_bar_and_no_ratio_is_none() {
        let mut t = Table::default();
        t.add("api", "a < b", "1/s", Better::Higher, System::Skiff, 8.0);
        t.add("api", "a < b", "1/s", Better::Higher, System::Stock, 2.0);
        t.add("node", "alone", "ms", Better::Lower, System::Skiff, 8.0);
        let drawn = svg(&t, "title");
        assert!(drawn.contains("a &lt; b") && drawn.contains("4.00 x"), "{drawn}");
        assert_eq!(drawn.matches("height=\"6\"").count(), 1);
    }
}
