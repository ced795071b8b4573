/// How one series looks in plots: a colour, a dash pattern and a mark, so that colour never stands alone.
///
/// Colours follow Okabe and Ito's palette, which colour-blind readers can tell apart; the dark theme uses lighter variants of the
/// two dark blues and greens.
struct SeriesStyle: Hashable {
    /// Its place in the palette.
    private let number: Int

    /// The style of a method where every method has its own.
    init(_ method: EvaluationMethod) {
        number = EvaluationMethod.allCases.firstIndex(of: method) ?? 0
    }

    /// The style of the series at a position, from 0; `nil` where there are no more.
    init?(position: Int) {
        guard Self.order.indices.contains(position) else { return nil }
        number = Self.order[position]
    }

    /// How many series differ in their looks.
    static var count: Int { order.count }
    /// The style of no adapter: grey, and in no other series.
    static let none = SeriesStyle(.none)

    /// The name of the colour in the style sheet.
    var name: String { "s\(number)" }

    /// The palette for the series by position: those that differ most come first.
    private static let order = [9, 5, 3, 4, 2, 1, 6, 7, 10, 8]

    /// Those of the methods in their order, then one more: colours on light and on dark, the dash pattern, and the mark's outline
    /// around the origin, filled or not.
    private static let looks: [(light: String, dark: String, dash: String, mark: String, isFilled: Bool)] = [
        ("#5f6368", "#a9afb6", "", "M-2-6h4v12h-4z", true),
        ("#a66f00", "#f0b84a", "2 4", "M-2-6h4v4h4v4h-4v4h-4v-4h-4v-4h4z", true),
        ("#2b8cc4", "#7cc8f2", "8 4", "M0 6L6-4.5H-6z", true),
        ("#00795a", "#3ecfa6", "8 3 2 3", "M0-6L6 4.5H-6z", true),
        ("#b04f86", "#e79cc4", "5 3", "M0-6.5L6.5 0L0 6.5L-6.5 0z", true),
        ("#004f87", "#6aaef0", "12 3", "M-4.5-4.5h9v9h-9z", true),
        ("#8a3ffc", "#be95ff", "4 3", "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z", false),
        ("#9f1853", "#ff7eb6", "", "M-4.5-4.5h9v9h-9z", false),
        ("#6f6f6f", "#c6c6c6", "1 3", "M0-6L6 4.5H-6z", false),
        ("#c44a00", "#ff8f4d", "", "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z", true),
        ("#7a4a1e", "#d9ab7e", "10 3 2 3 2 3", "M0-6.5L6.5 0L0 6.5L-6.5 0z", false),
    ]

    /// The mark at a point.
    func mark(_ x: Double, _ y: Double) -> String {
        "<path class=\"mark m-\(name)\" transform=\"translate(\(pixel(x)) \(pixel(y)))\" d=\"\(Self.looks[number].mark)\"/>"
    }

    /// The line, and the mark on it, for a legend.
    func key(hasMark: Bool) -> String {
        guard hasMark else {
            return
                "<svg viewBox=\"0 0 34 10\" aria-hidden=\"true\"><line class=\"line c-\(name)\" x1=\"0\" x2=\"34\" y1=\"5\""
                + " y2=\"5\"/></svg>"
        }
        return
            "<svg viewBox=\"0 0 34 16\" aria-hidden=\"true\"><line class=\"line c-\(name)\" x1=\"0\" x2=\"34\""
            + " y1=\"8\" y2=\"8\"/>\(mark(17, 8))</svg>"
    }

    /// The colours as variables of the style sheet.
    static func variables(dark: Bool) -> String {
        looks.enumerated().map { "--s\($0):\(dark ? $1.dark : $1.light)" }.joined(separator: ";")
    }

    /// What gives lines, fills and marks their looks.
    static var rules: String {
        looks.enumerated().map { number, look in
            let dash = look.dash.isEmpty ? "" : ".line.c-s\(number){stroke-dasharray:\(look.dash)}"
            return
                ".c-s\(number){stroke:var(--s\(number))}.f-s\(number),.band.c-s\(number){fill:var(--s\(number))}\(dash)"
                + ".m-s\(number){stroke:var(--s\(number));fill:var(--\(look.isFilled ? "s\(number)" : "page"))}"
        }.joined(separator: "\n")
    }
}
