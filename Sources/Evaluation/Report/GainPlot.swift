/// AUC gain against the step, one line with its band per method, as SVG.
struct GainPlot {
    /// One line.
    struct Curve {
        let name: String
        let style: SeriesStyle
        /// The gain at each step, from step 1.
        let gains: [Interval]
    }

    let curves: [Curve]
    let steps: Int
    let width: Double
    /// The room for names at the lines' ends; `nil` leaves them to the legend.
    let labelRoom: Double?
    /// Whether each line has its mark on it.
    var hasMarks = false

    private var frame: PlotFrame {
        PlotFrame(width: width, height: 360, left: width > 420 ? 72 : 66, right: labelRoom ?? 12)
    }

    var svg: String {
        let frame = frame
        let x = PlotScale(
            covering: [1, Double(max(steps, 2))], pixels: frame.across, tickCount: width > 420 ? 8 : 5, widens: false)
        let gains = curves.flatMap(\.gains)
        let y = PlotScale(
            covering: [0] + gains.map(\.low) + gains.map(\.high), pixels: frame.upwards, tickCount: 6)
        let ticks = [1.0] + x.ticks.filter { $0 >= 2 && $0 == $0.rounded() }
        var parts = frame.verticalAxis("AUC gain over no adapter", y)
        parts += frame.horizontalAxis(
            "step: likes known so far", ticks.map { (x.position($0), decimal($0, digits: 0), false) }, isGrid: false)
        for curve in curves { parts.append(band(curve, x, y)) }
        for (place, curve) in curves.enumerated() {
            let points = curve.gains.enumerated().map { (x: x.position(Double($0 + 1)), y: y.position($1.mean)) }
            parts.append(frame.line(points, curve.style, name: curve.name))
            if hasMarks { parts += marks(points, curve.style, place) }
        }
        if labelRoom != nil { parts += labels(y) }
        return frame.svg("AUC gain over no adapter against the step, by method", parts)
    }

    private func band(_ curve: Curve, _ x: PlotScale, _ y: PlotScale) -> String {
        let places = curve.gains.enumerated().map { (x: x.position(Double($0 + 1)), gain: $1) }
        let outline =
            places.map { (x: $0.x, y: y.position($0.gain.high)) }
            + places.reversed().map { (x: $0.x, y: y.position($0.gain.low)) }
        return "<polygon class=\"band c-\(curve.style.name)\" points=\"\(PlotFrame.coordinates(outline))\"/>"
    }

    /// Marks at every eighth of a line, at other steps than those of the other lines.
    private func marks(_ points: [(x: Double, y: Double)], _ style: SeriesStyle, _ place: Int) -> [String] {
        let stride = max(1, points.count / 8)
        return points.indices.filter { $0 % stride == place % stride }.map { style.mark(points[$0].x, points[$0].y) }
    }

    /// The names at the lines' ends, moved apart where they would overlap.
    private func labels(_ y: PlotScale) -> [String] {
        var places = curves.compactMap { curve in
            curve.gains.last.map { (name: curve.name, style: curve.style, at: y.position($0.mean)) }
        }
        places.append((EvaluationMethod.none.rawValue, SeriesStyle.none, y.position(0)))
        places.sort { $0.at < $1.at }
        let gap = 16.0
        for i in places.indices.dropFirst() { places[i].at = max(places[i].at, places[i - 1].at + gap) }
        // Pushed down past the axis: move back up from the end.
        var floor = frame.floor
        for i in places.indices.reversed() {
            places[i].at = min(places[i].at, floor)
            floor = places[i].at - gap
        }
        let left = pixel(frame.across.to + 8)
        return places.map { place in
            "<text class=\"label f-\(place.style.name)\" x=\"\(left)\" y=\"\(pixel(place.at))\" dy=\"0.32em\">"
                + "\(markup(place.name))</text>"
        }
    }
}
