/// AUC gain against the step, one line with its band per method, as SVG.
struct GainPlot {
    let result: EvaluationResult
    let width: Double
    /// Whether lines are labelled at their ends; a narrow plot leaves that to the legend.
    let labelsLines: Bool

    private let height = 360.0
    private let top = 16.0
    private let bottom = 52.0
    private var left: Double { labelsLines ? 72 : 66 }
    private var right: Double { labelsLines ? 96 : 12 }

    private var methods: [EvaluationResult.Method] { result.methods.filter { $0.method != .none } }

    var svg: String {
        let steps = result.activeUsers.count
        let x = PlotScale(
            covering: [1, Double(max(steps, 2))], pixels: (left, width - right), tickCount: labelsLines ? 8 : 5,
            widens: false)
        let gains = methods.flatMap(\.smoothedGains)
        let values = [0] + gains.map(\.low) + gains.map(\.high)
        let y = PlotScale(covering: values, pixels: (height - bottom, top), tickCount: 6)
        var parts: [String] = []
        parts.append(
            "<svg viewBox=\"0 0 \(pixel(width)) \(pixel(height))\" role=\"img\" aria-label=\"AUC gain over no adapter against"
                + " the step, by method\">")
        parts += axes(x, y)
        for method in methods { parts.append(band(method, x, y)) }
        for method in methods { parts.append(line(method, x, y)) }
        if labelsLines { parts += labels(x, y) }
        parts.append("</svg>")
        return parts.joined(separator: "\n")
    }

    private func axes(_ x: PlotScale, _ y: PlotScale) -> [String] {
        var parts: [String] = []
        for tick in y.ticks {
            let at = pixel(y.position(tick))
            let isZero = abs(tick) < 1e-12
            parts.append(
                "<line class=\"\(isZero ? "zero" : "grid")\" x1=\"\(pixel(left))\" x2=\"\(pixel(width - right))\""
                    + " y1=\"\(at)\" y2=\"\(at)\"/>")
            parts.append(
                "<text class=\"tick\" x=\"\(pixel(left - 8))\" y=\"\(at)\" dy=\"0.32em\" text-anchor=\"end\">"
                    + decimal(tick, digits: y.digits) + "</text>")
        }
        let xTicks = [1.0] + x.ticks.filter { $0 >= 2 && $0 == $0.rounded() }
        for tick in xTicks {
            let at = pixel(x.position(tick))
            parts.append(
                "<text class=\"tick\" x=\"\(at)\" y=\"\(pixel(height - bottom + 20))\" text-anchor=\"middle\">"
                    + decimal(tick, digits: 0) + "</text>")
        }
        parts.append(
            "<text class=\"axis\" x=\"\(pixel((left + width - right) / 2))\" y=\"\(pixel(height - 8))\""
                + " text-anchor=\"middle\">step: likes known so far</text>")
        let middle = pixel((top + height - bottom) / 2)
        parts.append(
            "<text class=\"axis\" transform=\"translate(14 \(middle)) rotate(-90)\" text-anchor=\"middle\">"
                + "AUC gain over no adapter</text>")
        return parts
    }

    private func band(_ method: EvaluationResult.Method, _ x: PlotScale, _ y: PlotScale) -> String {
        let upper = method.smoothedGains.enumerated().map {
            "\(pixel(x.position(Double($0 + 1)))),\(pixel(y.position($1.high)))"
        }
        let lower = method.smoothedGains.enumerated().reversed()
            .map { "\(pixel(x.position(Double($0 + 1)))),\(pixel(y.position($1.low)))" }
        return
            "<polygon class=\"band c-\(method.method.rawValue)\" points=\"\((upper + lower).joined(separator: " "))\"/>"
    }

    private func line(_ method: EvaluationResult.Method, _ x: PlotScale, _ y: PlotScale) -> String {
        let points = method.smoothedGains.enumerated()
            .map { "\(pixel(x.position(Double($0 + 1)))),\(pixel(y.position($1.mean)))" }
        return "<polyline class=\"line c-\(method.method.rawValue)\" points=\"\(points.joined(separator: " "))\">"
            + "<title>\(method.method.rawValue)</title></polyline>"
    }

    /// The names at the lines' ends, moved apart where they would overlap.
    private func labels(_ x: PlotScale, _ y: PlotScale) -> [String] {
        var places = methods.compactMap { method in
            method.smoothedGains.last.map { (name: method.method.rawValue, at: y.position($0.mean)) }
        }
        places.append((EvaluationMethod.none.rawValue, y.position(0)))
        places.sort { $0.at < $1.at }
        let gap = 16.0
        for i in places.indices.dropFirst() { places[i].at = max(places[i].at, places[i - 1].at + gap) }
        // Pushed down past the axis: move back up from the end.
        var floor = height - bottom
        for i in places.indices.reversed() {
            places[i].at = min(places[i].at, floor)
            floor = places[i].at - gap
        }
        return places.map { place in
            "<text class=\"label f-\(place.name)\" x=\"\(pixel(width - right + 8))\" y=\"\(pixel(place.at))\" dy=\"0.32em\">"
                + place.name + "</text>"
        }
    }
}
