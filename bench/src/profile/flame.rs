//! A flame graph: stacks side by side, each frame as wide as its weight, what called it below it. SVG that needs no script; the
//! name and share of a frame show when the pointer rests on it.

use super::stacks::{Stacks, is_ours};
use std::collections::BTreeMap;
use std::fmt::Write as _;

const WIDTH: f64 = 1400.0;
const LINE: f64 = 16.0;
/// Frames narrower than this are left out.
const NARROWEST: f64 = 0.4;

#[derive(Default)]
struct Frame<'a> {
    weight: f64,
    above: BTreeMap<&'a str, Frame<'a>>,
}

impl Frame<'_> {
    fn depth(&self, scale: f64) -> usize {
        let above = self.above.values().filter(|f| f.weight * scale >= NARROWEST);
        above.map(|f| 1 + f.depth(scale)).max().unwrap_or(0)
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn color(name: &str) -> &'static str {
    match name {
        n if n.ends_with("[kernel]") => "#e5b567",
        n if is_ours(n) => "#e0764f",
        n if n.contains("::") => "#8fb4d9",
        _ => "#c9c9c9",
    }
}

fn draw(out: &mut String, frame: &Frame<'_>, x: f64, y: f64, scale: f64, total: f64) {
    let mut x = x;
    for (name, f) in &frame.above {
        let width = f.weight * scale;
        if width >= NARROWEST {
            let text: String = name.chars().take((width / 6.5) as usize).collect();
            let percent = 100.0 * f.weight / total;
            let _ = writeln!(
                out,
                "<g><title>{} {percent:.2} %</title><rect x=\"{x:.1}\" y=\"{y:.0}\" width=\"{width:.1}\" height=\"15\" fill=\"{}\" \
                 stroke=\"#fff\" stroke-width=\"0.5\"/><text x=\"{:.1}\" y=\"{:.0}\">{}</text></g>",
                escape(name),
                color(name),
                x + 2.0,
                y + 11.0,
                escape(&text),
            );
            draw(out, f, x, y - LINE, scale, total);
        }
        x += width;
    }
}

/// Draws the stacks.
pub fn svg(stacks: &Stacks, title: &str) -> String {
    let mut root = Frame::default();
    for (stack, weight) in stacks.iter() {
        root.weight += weight;
        let mut at = &mut root;
        for name in stack {
            at = at.above.entry(name).or_default();
            at.weight += weight;
        }
    }
    let scale = WIDTH / root.weight.max(1.0);
    let height = 40.0 + LINE * root.depth(scale) as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH:.0}\" height=\"{height:.0}\" font-family=\"monospace\" \
         font-size=\"10\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n<text x=\"8\" y=\"16\" font-size=\"13\">{}: ours \
         red, other crates blue, kernel yellow</text>\n",
        escape(title),
    );
    draw(&mut out, &root, 0.0, height - LINE - 4.0, scale, root.weight);
    out + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_as_wide_as_what_it_calls() {
        let mut s = Stacks::default();
        for (leaf, weight) in [("store::a<b>", 3.0), ("memcpy", 1.0)] {
            s.add(["server", "apiserver::serve", leaf].map(str::to_owned).to_vec(), weight);
        }
        let drawn = svg(&s, "time");
        assert!(drawn.contains("<title>apiserver::serve 100.00 %</title>"), "{drawn}");
        assert!(drawn.contains("<title>store::a&lt;b&gt; 75.00 %</title>"), "{drawn}");
    }
}
