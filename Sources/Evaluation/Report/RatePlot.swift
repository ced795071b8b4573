import TensorCore

/// What donors gained at each learning rate of a variant, on a logarithmic axis, as SVG.
struct RatePlot {
    let sensitivity: RateSensitivity
    let style: SeriesStyle
    let width: Double

    var svg: String {
        let frame = PlotFrame(width: width, height: 270, right: 20, top: 34)
        let rates = sensitivity.rates
        let x = PlotScale(
            covering: rates.map(Elementary.log), pixels: (frame.across.from + 16, frame.across.to - 8), tickCount: 4,
            widens: false)
        let values =
            sensitivity.lines.flatMap { line in
                line.points.flatMap { line.isChosen ? [$0.value.low, $0.value.high] : [$0.value.mean] }
            }
        let y = PlotScale(covering: values, pixels: frame.upwards, tickCount: 4)
        func at(_ rate: Double) -> Double { x.position(Elementary.log(rate)) }

        var parts = frame.verticalAxis("donors' \(sensitivity.measureName)", y)
        parts += frame.horizontalAxis(
            "learning rate (logarithmic)", Self.ticks(rates, at: at).map { ($0.at, $0.text, false) }, isGrid: false)
        for line in sensitivity.lines where !line.isChosen {
            let points = line.points.map { (x: at($0.rate), y: y.position($0.value.mean)) }
            parts.append("<polyline class=\"other\" points=\"\(PlotFrame.coordinates(points))\"/>")
        }
        for line in sensitivity.lines where line.isChosen {
            let points = line.points.map { (x: at($0.rate), y: y.position($0.value.mean)) }
            parts.append(frame.line(points, style, name: sensitivity.variant))
            for (point, value) in zip(points, line.points.map(\.value)) {
                parts.append(
                    "<path class=\"bar c-\(style.name)\" d=\"M\(pixel(point.x)) \(pixel(y.position(value.low)))"
                        + "V\(pixel(y.position(value.high)))\"/>")
                parts.append(style.mark(point.x, point.y))
            }
        }
        for rate in sensitivity.failures {
            parts.append(
                "<path class=\"fail\" transform=\"translate(\(pixel(at(rate))) \(pixel(frame.floor)))\" d=\"M-5-5L5 5M-5 5L5-5\"/>"
            )
        }
        if let chosen = sensitivity.chosen {
            let text = "chosen: \(shortNumber(chosen))"
            let middle = pixel(at(chosen))
            let room = textWidth(text) / 2
            let center = min(max(at(chosen), frame.left + room), width - 8 - room)
            parts.append(
                "<line class=\"choice\" x1=\"\(middle)\" x2=\"\(middle)\" y1=\"\(pixel(frame.top - 6))\" y2=\"\(pixel(frame.floor))\"/>"
            )
            parts.append(
                "<text class=\"tick\" x=\"\(pixel(center))\" y=\"\(pixel(frame.top - 14))\" text-anchor=\"middle\">\(text)</text>"
            )
        }
        return frame.svg("\(sensitivity.variant): donors' \(sensitivity.measureName) against the learning rate", parts)
    }

    /// The rates that there is room to write, the first and the last before others.
    private static func ticks(_ rates: [Double], at: (Double) -> Double) -> [(at: Double, text: String)] {
        guard let first = rates.first, let last = rates.last else { return [] }
        func room(_ rate: Double) -> ClosedRange<Double> {
            let half = textWidth(shortNumber(rate)) / 2 + 4
            return (at(rate) - half)...(at(rate) + half)
        }
        var shown = [first]
        for rate in [last] + rates.dropFirst().dropLast()
        where !shown.contains(where: { room($0).overlaps(room(rate)) }) {
            shown.append(rate)
        }
        return shown.map { (at($0), shortNumber($0)) }
    }
}
