/// The share of users whose difference is below what the horizontal axis says, one line per method, as SVG.
struct SharePlot {
    /// One line.
    struct Curve {
        let name: String
        let style: SeriesStyle
        /// The users' differences.
        let values: [Double]
    }

    let curves: [Curve]
    let axis: String
    let width: Double

    /// The most points of a line.
    private static let most = 200

    var svg: String {
        let frame = PlotFrame(width: width, height: 340, right: 24)
        let x = PlotScale(
            covering: [0] + curves.flatMap { [$0.values.min() ?? 0, $0.values.max() ?? 0] }, pixels: frame.across,
            tickCount: width > 420 ? 6 : 4)
        let y = PlotScale(covering: [0, 100], pixels: frame.upwards, tickCount: 5)
        var parts = frame.verticalAxis("users below (%)", y) + frame.horizontalAxis(axis, x)
        for (place, curve) in curves.enumerated() {
            let points = Self.points(curve.values).map { (x: x.position($0.value), y: y.position(100 * $0.share)) }
            guard let last = points.last else { continue }
            parts.append(frame.line(points + [(x: x.pixels.to, y: last.y)], curve.style, name: curve.name))
            // Marks at other heights than those of the other lines.
            for mark in 0..<4 {
                let share = (Double(mark) + (Double(place) + 0.5) / Double(max(curves.count, 1))) / 4
                let point = points[min(points.count - 1, Int(share * Double(points.count)))]
                parts.append(curve.style.mark(point.x, point.y))
            }
        }
        return frame.svg("Share of users below a difference of AUC from no adapter, by method", parts)
    }

    /// The steps of the share of values that are below a value; of many values, points between which lines run.
    static func points(_ values: [Double]) -> [(value: Double, share: Double)] {
        let sorted = values.sorted()
        let count = sorted.count
        guard count > most else {
            return sorted.enumerated().flatMap { place, value in
                [(value, Double(place) / Double(count)), (value, Double(place + 1) / Double(count))]
            }
        }
        return (0...most).map { k in
            let place = k * (count - 1) / most
            return (sorted[place], Double(place) / Double(count - 1))
        }
    }
}
