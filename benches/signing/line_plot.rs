//! Lines over logarithmic axes: where a cost grows as the work does, its line is straight, and as steep as the power that it grows by.

use crate::growth::Series;
use crate::plot::{STYLE, WIDTH};

const HEIGHT: usize = 400;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 60.0;
const BOTTOM: f64 = 60.0;
/// Of the lines, in their order.
const CLASSES: [&str; 4] = [
    "line own",
    "line other",
    "line own dashed",
    "line other dashed",
];
const LINE_STYLE: &str = "<style>\n\
    .line { fill: none; stroke-width: 2 } .dashed { stroke-dasharray: 6 4 }\n\
    .line.own { stroke: #2563eb } .line.other { stroke: #9ca3af }\n\
    .grid { stroke: #8884; stroke-width: 1 }\n\
    @media (prefers-color-scheme: dark) { .line.own { stroke: #60a5fa } }\n</style>\n";

/// Powers of ten that an axis goes from and to.
struct Axis {
    from: i32,
    to: i32,
    start: f64,
    length: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>, start: f64, length: f64) -> Self {
        let logs: Vec<f64> = values
            .filter(|value| *value > 0.0)
            .map(f64::log10)
            .collect();
        let from = logs.iter().copied().fold(f64::INFINITY, f64::min);
        let to = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (from, to) = match from <= to {
            true => (from.floor() as i32, to.ceil() as i32),
            false => (0, 1),
        };
        Self {
            from,
            to: to.max(from + 1),
            start,
            length,
        }
    }

    /// Where a value lies; what has no logarithm lies at the beginning.
    fn at(&self, value: f64) -> f64 {
        let share = (value.max(f64::MIN_POSITIVE).log10() - f64::from(self.from))
            / f64::from(self.to - self.from);
        self.start + self.length * share.clamp(0.0, 1.0)
    }
}

/// One picture.
pub fn draw(series: &Series) -> String {
    let points = || series.lines.iter().flat_map(|line| &line.points);
    let (width, height) = (WIDTH as f64, HEIGHT as f64);
    let x = Axis::over(points().map(|point| point.0), LEFT, width - LEFT - RIGHT);
    // From the bottom up.
    let y = Axis::over(
        points().map(|point| point.1),
        height - BOTTOM,
        TOP + BOTTOM - height,
    );
    let mut body = format!(
        "<text class=\"title\" x=\"8\" y=\"20\">{}</text>\n<text x=\"8\" y=\"{}\">{}</text>\n\
         <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n",
        series.title,
        TOP - 16.0,
        series.y,
        width - RIGHT,
        height - 10.0,
        series.x
    );
    for power in x.from..=x.to {
        let at = x.at(10_f64.powi(power));
        body += &format!(
            "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{}\"/>\
             <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
            height - BOTTOM,
            height - BOTTOM + 18.0,
            power_of_ten(power)
        );
    }
    for power in y.from..=y.to {
        let at = y.at(10_f64.powi(power));
        body += &format!(
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
            width - RIGHT,
            LEFT - 6.0,
            at + 4.0,
            power_of_ten(power)
        );
    }
    for (at, (line, class)) in series.lines.iter().zip(CLASSES).enumerate() {
        let points: Vec<_> = line
            .points
            .iter()
            .map(|point| format!("{:.1},{:.1}", x.at(point.0), y.at(point.1)))
            .collect();
        let across = LEFT + at as f64 * 170.0;
        body += &format!(
            "<polyline class=\"{class}\" points=\"{}\"/>\
             <line class=\"{class}\" x1=\"{across}\" x2=\"{}\" y1=\"38\" y2=\"38\"/>\
             <text x=\"{}\" y=\"42\">{}</text>\n",
            points.join(" "),
            across + 24.0,
            across + 30.0,
            line.name
        );
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\">\n\
         <title>{}</title>\n{STYLE}{LINE_STYLE}{body}</svg>\n",
        series.title
    )
}

fn power_of_ten(power: i32) -> String {
    match power {
        0..=9 => {
            let digits = 10_u64.pow(power as u32).to_string();
            let mut grouped = String::new();
            for (at, digit) in digits.chars().enumerate() {
                if at > 0 && (digits.len() - at).is_multiple_of(3) {
                    grouped.push(',');
                }
                grouped.push(digit);
            }
            grouped
        }
        _ => format!("1e{power}"),
    }
}
