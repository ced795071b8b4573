/// One measure of every method as a point with its interval, as SVG.
struct IntervalPlot {
    /// One line of the plot.
    struct Row {
        let name: String
        let style: SeriesStyle
        /// `nil` says that there is none.
        let value: Interval?
    }

    let title: String
    /// What the axis measures, with its unit.
    let axis: String
    let rows: [Row]
    /// Multiplies values before they are shown; 100 for percent.
    var factor = 1.0
    /// Whether the axis begins at zero.
    var startsAtZero = false
    let width: Double
    /// Whether each method has its own mark; without that all have dots.
    var hasMarks = false

    /// Names that are too long to stand beside their intervals stand above them, in as many lines as they take.
    private var standsAbove: Bool { textWidth(longestName) + 10 > max(92, width * 0.36) }
    private var longestName: String { rows.map(\.name).max { $0.count < $1.count } ?? "" }
    private func lines(_ row: Row) -> [String] {
        standsAbove ? wrapped(row.name, columns: Int((width - 32) / textWidth("n"))) : [row.name]
    }

    var svg: String {
        let lineHeight = 18.0
        let heights = rows.map { standsAbove ? 20 + lineHeight * Double(lines($0).count) : 34 }
        var frame = PlotFrame(width: width, height: 10 + heights.reduce(0, +) + 50)
        frame.left = standsAbove ? 24 : max(92, textWidth(longestName) + 10)
        (frame.right, frame.top, frame.bottom) = (24, 10, 50)
        let values = rows.compactMap(\.value).flatMap { [$0.low * factor, $0.high * factor, $0.mean * factor] }
        // Where all is zero, the axis still has a side on which there could be more.
        let isNothing = values.allSatisfy { $0 == 0 }
        let x = PlotScale(
            covering: startsAtZero ? values + [0] + (isNothing ? [0.05 * factor] : []) : values, pixels: frame.across,
            tickCount: max(2, min(6, Int((frame.across.to - frame.left) / 60))))
        var parts = frame.horizontalAxis(axis, x, marksZero: hasMarks)
        var top = frame.top
        for (row, height) in zip(rows, heights) {
            let y = standsAbove ? top + height - 11 : top + height / 2
            for (i, text) in lines(row).enumerated() {
                let (left, at) = standsAbove ? (8, top + 15 + lineHeight * Double(i)) : (frame.left - 12, y)
                let anchor = standsAbove ? "" : " dy=\"0.32em\" text-anchor=\"end\""
                parts.append(
                    "<text class=\"name\(standsAbove ? " above" : "")\" x=\"\(pixel(left))\" y=\"\(pixel(at))\"\(anchor)>\(markup(text))</text>"
                )
            }
            parts += interval(row, x, y)
            top += height
        }
        return frame.svg(title, parts)
    }

    private func interval(_ row: Row, _ x: PlotScale, _ y: Double) -> [String] {
        guard let value = row.value else {
            return [
                "<text class=\"tick\" x=\"\(pixel(x.pixels.from + 8))\" y=\"\(pixel(y))\" dy=\"0.32em\">not defined</text>"
            ]
        }
        let whisker =
            "<line class=\"whisker c-\(row.style.name)\" x1=\"\(pixel(x.position(value.low * factor)))\""
            + " x2=\"\(pixel(x.position(value.high * factor)))\" y1=\"\(pixel(y))\" y2=\"\(pixel(y))\"/>"
        let middle = x.position(value.mean * factor)
        guard !hasMarks else { return [whisker, row.style.mark(middle, y)] }
        return [
            whisker,
            "<circle class=\"dot f-\(row.style.name)\" cx=\"\(pixel(middle))\" cy=\"\(pixel(y))\" r=\"5\">"
                + "<title>\(markup(row.name))</title></circle>",
        ]
    }
}
