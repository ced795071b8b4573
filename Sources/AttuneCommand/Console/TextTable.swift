import Attune

/// Rows of text in aligned columns.
struct TextTable {
    /// The columns whose cells stand at the right, as numbers do.
    var rightAligned: Set<Int> = []
    private var rows: [[String]] = []

    mutating func add(_ cells: [String]) { rows.append(cells) }

    /// The table, each row on a line; the last column is as wide as it is.
    var text: String {
        let columns = rows.map(\.count).max() ?? 0
        let widths = (0..<columns).map { c in rows.compactMap { c < $0.count ? $0[c].count : nil }.max() ?? 0 }
        return rows.map { row in
            let cells = row.enumerated().map { c, cell in
                let space = String(repeating: " ", count: widths[c] - cell.count)
                if rightAligned.contains(c) { return space + cell }
                return c == row.count - 1 ? cell : cell + space
            }
            return "  " + cells.joined(separator: "  ") + "\n"
        }.joined()
    }

    /// A JSON value as a person reads it.
    static func plain(_ value: JSONText) -> String {
        switch value {
        case .null: "none"
        case .bool(let value): value ? "yes" : "no"
        case .string(let value): printable(value)
        case .integer, .number, .array, .object: value.text
        }
    }
}
