/// One measure of every method as a point with its interval, as SVG.
struct IntervalPlot {
    let title: String
    /// What the axis measures, with its unit.
    let axis: String
    /// Method names with their values; nil leaves the row empty with a dash.
    let rows: [(name: String, value: Interval?)]
    /// Multiplies values before they are shown; 100 for percent.
    var factor = 1.0
    /// Whether the axis begins at zero.
    var startsAtZero = false
    let width: Double

    private let rowHeight = 34.0
    private let left = 92.0
    private let right = 24.0
    private let top = 10.0
    private let bottom = 50.0

    var svg: String {
        let height = top + rowHeight * Double(rows.count) + bottom
        let values = rows.compactMap(\.value).flatMap { [$0.low * factor, $0.high * factor, $0.mean * factor] }
        let x = PlotScale(
            covering: startsAtZero ? values + [0] : values, pixels: (left, width - right),
            tickCount: width > 420 ? 6 : 4)
        var parts = [
            "<svg viewBox=\"0 0 \(pixel(width)) \(pixel(height))\" role=\"img\" aria-label=\"\(markup(title))\">"
        ]
        let floor = height - bottom
        for tick in x.ticks {
            let at = pixel(x.position(tick))
            parts.append("<line class=\"grid\" x1=\"\(at)\" x2=\"\(at)\" y1=\"\(pixel(top))\" y2=\"\(pixel(floor))\"/>")
            parts.append(
                "<text class=\"tick\" x=\"\(at)\" y=\"\(pixel(floor + 20))\" text-anchor=\"middle\">"
                    + decimal(tick, digits: x.digits) + "</text>")
        }
        for (i, row) in rows.enumerated() {
            let y = pixel(top + rowHeight * (Double(i) + 0.5))
            parts.append(
                "<text class=\"name\" x=\"\(pixel(left - 12))\" y=\"\(y)\" dy=\"0.32em\" text-anchor=\"end\">"
                    + markup(row.name) + "</text>")
            guard let value = row.value else {
                parts.append(
                    "<text class=\"tick\" x=\"\(pixel(left + 8))\" y=\"\(y)\" dy=\"0.32em\">not defined</text>")
                continue
            }
            let name = markup(row.name)
            parts.append(
                "<line class=\"whisker c-\(name)\" x1=\"\(pixel(x.position(value.low * factor)))\""
                    + " x2=\"\(pixel(x.position(value.high * factor)))\" y1=\"\(y)\" y2=\"\(y)\"/>")
            parts.append(
                "<circle class=\"dot f-\(name)\" cx=\"\(pixel(x.position(value.mean * factor)))\" cy=\"\(y)\" r=\"5\">"
                    + "<title>\(name)</title></circle>")
        }
        parts.append(
            "<text class=\"axis\" x=\"\(pixel((left + width - right) / 2))\" y=\"\(pixel(height - 8))\""
                + " text-anchor=\"middle\">\(markup(axis))</text>")
        parts.append("</svg>")
        return parts.joined(separator: "\n")
    }
}
