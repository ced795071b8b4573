/// Two measures of every method as points with an interval in both directions, as SVG.
struct ScatterPlot {
    /// One point.
    struct Point {
        let name: String
        let style: SeriesStyle
        let x: Interval
        let y: Interval
    }

    let title: String
    /// What the axes measure, with their units.
    let xAxis: String
    let yAxis: String
    let points: [Point]
    /// Places in ``points`` that a line joins.
    let lines: [[Int]]
    let width: Double

    var svg: String {
        let frame = PlotFrame(width: width, height: width > 420 ? 440 : 360, left: 72, right: 16)
        let x = PlotScale(
            covering: points.flatMap { [$0.x.low, $0.x.high] }, pixels: frame.across,
            tickCount: width > 420 ? 8 : 4)
        let y = PlotScale(
            covering: points.flatMap { [$0.y.low, $0.y.high] }, pixels: frame.upwards, tickCount: 6)
        var parts = frame.verticalAxis(yAxis, y) + frame.horizontalAxis(xAxis, x)
        let middles = points.map { (x: x.position($0.x.mean), y: y.position($0.y.mean)) }
        for line in lines {
            parts.append("<polyline class=\"joint\" points=\"\(PlotFrame.coordinates(line.map { middles[$0] }))\"/>")
        }
        for (point, middle) in zip(points, middles) {
            parts.append(
                "<path class=\"bar c-\(point.style.name)\" d=\"M\(pixel(x.position(point.x.low))) \(pixel(middle.y))"
                    + "H\(pixel(x.position(point.x.high)))M\(pixel(middle.x)) \(pixel(y.position(point.y.low)))"
                    + "V\(pixel(y.position(point.y.high)))\"><title>\(markup(point.name))</title></path>")
        }
        for (point, middle) in zip(points, middles) { parts.append(point.style.mark(middle.x, middle.y)) }
        return frame.svg(title, parts)
    }
}
