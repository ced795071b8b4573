/// The place of a plot on the page, with its axes.
struct PlotFrame {
    let width: Double
    let height: Double
    /// The margins, in which the axes' texts stand.
    var left = 66.0
    var right = 12.0
    var top = 16.0
    var bottom = 52.0

    /// Where the horizontal axis runs.
    var across: (from: Double, to: Double) { (left, width - right) }
    /// Where the vertical axis runs, upwards.
    var upwards: (from: Double, to: Double) { (height - bottom, top) }
    /// The vertical position of the horizontal axis.
    var floor: Double { height - bottom }

    /// The picture.
    func svg(_ label: String, _ parts: [String]) -> String {
        "<svg viewBox=\"0 0 \(pixel(width)) \(pixel(height))\" role=\"img\" aria-label=\"\(markup(label))\">\n"
            + parts.joined(separator: "\n") + "\n</svg>"
    }

    /// The vertical axis, with a line across at each tick; that at zero stands out.
    func verticalAxis(_ title: String, _ y: PlotScale) -> [String] {
        var parts: [String] = []
        for tick in y.ticks {
            let at = pixel(y.position(tick))
            parts.append(
                "<line class=\"\(abs(tick) < 1e-12 ? "zero" : "grid")\" x1=\"\(pixel(left))\" x2=\"\(pixel(width - right))\""
                    + " y1=\"\(at)\" y2=\"\(at)\"/>")
            parts.append(
                "<text class=\"tick\" x=\"\(pixel(left - 8))\" y=\"\(at)\" dy=\"0.32em\" text-anchor=\"end\">"
                    + decimal(tick, digits: y.digits) + "</text>")
        }
        parts.append(
            "<text class=\"axis\" transform=\"translate(14 \(pixel((top + floor) / 2))) rotate(-90)\" text-anchor=\"middle\">"
                + "\(markup(title))</text>")
        return parts
    }

    /// The horizontal axis with texts at positions, and where it is a grid, a line upwards at each; that at zero stands out.
    func horizontalAxis(_ title: String, _ ticks: [(at: Double, text: String, isZero: Bool)], isGrid: Bool) -> [String]
    {
        var parts: [String] = []
        for tick in ticks {
            let at = pixel(tick.at)
            if isGrid {
                parts.append(
                    "<line class=\"\(tick.isZero ? "zero" : "grid")\" x1=\"\(at)\" x2=\"\(at)\" y1=\"\(pixel(top))\""
                        + " y2=\"\(pixel(floor))\"/>")
            }
            parts.append(
                "<text class=\"tick\" x=\"\(at)\" y=\"\(pixel(floor + 20))\" text-anchor=\"middle\">\(tick.text)</text>"
            )
        }
        parts.append(
            "<text class=\"axis\" x=\"\(pixel((left + width - right) / 2))\" y=\"\(pixel(height - 8))\""
                + " text-anchor=\"middle\">\(markup(title))</text>")
        return parts
    }

    /// The horizontal axis with a line upwards at each tick; that at zero may stand out.
    func horizontalAxis(_ title: String, _ x: PlotScale, marksZero: Bool = true) -> [String] {
        horizontalAxis(
            title, x.ticks.map { (x.position($0), decimal($0, digits: x.digits), marksZero && abs($0) < 1e-12) },
            isGrid: true)
    }

    /// A line through points.
    func line(_ points: [(x: Double, y: Double)], _ style: SeriesStyle, name: String) -> String {
        "<polyline class=\"line c-\(style.name)\" points=\"\(Self.coordinates(points))\"><title>\(markup(name))</title></polyline>"
    }

    static func coordinates(_ points: [(x: Double, y: Double)]) -> String {
        points.map { "\(pixel($0.x)),\(pixel($0.y))" }.joined(separator: " ")
    }
}
