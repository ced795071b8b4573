/// A table of the report.
struct ReportTable {
    /// What stands in one cell.
    enum Cell {
        /// A name or a number as it is.
        case text(String)
        /// Words that may take several lines.
        case words(String)
        /// An estimate with its interval below it; a dash where there is none.
        case interval(Interval?, digits: Int, factor: Double = 1, signed: Bool = false)
    }

    let headings: [String]
    /// The cells of each row, the name first.
    let rows: [[Cell]]
    /// The columns of words, which stand at the left.
    var words: Set<Int> = []
    /// Whether the names may be long, and the columns many.
    var isDense = false

    var html: String {
        let head = headings.enumerated().map { place, heading in
            "<th\(words.contains(place) ? " class=\"words\"" : "")>\(markup(heading))</th>"
        }
        let body = rows.map { row in "<tr>" + row.map(Self.html).joined() + "</tr>" }
        return """
            <div class="scroll">
            <table\(isDense ? " class=\"dense\"" : "")>
            <thead><tr>\(head.joined())</tr></thead>
            <tbody>
            \(body.joined(separator: "\n"))
            </tbody>
            </table>
            </div>
            """
    }

    private static func html(_ cell: Cell) -> String {
        switch cell {
        case .text(let text): return "<td>\(markup(text))</td>"
        case .words(let text): return "<td class=\"words\">\(markup(text))</td>"
        case .interval(nil, _, _, _): return "<td>–</td>"
        case .interval(let value?, let digits, let factor, let signed):
            func text(_ x: Double) -> String {
                let number = decimal(x * factor, digits: digits)
                return signed && x > 0 ? "+" + number : number
            }
            return "<td>\(text(value.mean))<small>\(text(value.low)) to \(text(value.high))</small></td>"
        }
    }
}
