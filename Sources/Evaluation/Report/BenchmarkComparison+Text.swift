extension BenchmarkComparison {
    /// The comparison for people, with a line for each row.
    public var table: String {
        let headings = ["method", "measure", "A", "B", "B - A", "95 % interval", "p, adjusted", "B is"]
        let lines =
            [headings]
            + rows.map { row in
                [
                    row.first == row.second ? row.first : "\(row.first) = \(row.second)", row.measure.rawValue,
                    Self.shown(row.firstValue, row.measure), Self.shown(row.secondValue, row.measure),
                    Self.signed(row.difference.mean, row.measure),
                    "\(Self.signed(row.difference.low, row.measure)) to \(Self.signed(row.difference.high, row.measure))",
                    decimal(row.adjusted, digits: 4), row.verdict.rawValue,
                ]
            }
        let widths = headings.indices.map { column in lines.map { $0[column].count }.max() ?? 0 }
        var text = "\(users) users, \(events) ranked likes, \(resamples) resamples of users\n\n"
        for line in lines {
            let cells = zip(line, widths).map { cell, width in cell + String(repeating: " ", count: width - cell.count)
            }
            var row = cells.joined(separator: "  ")
            while row.last == " " { row.removeLast() }
            text += row + "\n"
        }
        return text
    }

    /// The comparison as one JSON object on one line: `users`, `events`, `resamples`, `level`, and `rows` with `first`, `second`,
    /// `measure`, `first_value`, `second_value`, `difference` (`mean`, `low`, `high`), `p`, `p_adjusted` and `verdict`.
    public var json: String {
        JSONText.object([
            ("users", .integer(users)), ("events", .integer(events)), ("resamples", .integer(resamples)),
            ("level", .number(Self.level)),
            (
                "rows",
                .array(
                    rows.map { row in
                        .object([("first", .string(row.first)), ("second", .string(row.second))] + row.json)
                    })
            ),
        ]).text
    }

    private static func digits(_ measure: ComparedMeasure) -> Int {
        switch measure {
        case .auc, .mrr, .ndcg10, .hit10, .worse: 4
        case .area: 3
        case .t90: 0
        }
    }

    private static func shown(_ value: Double, _ measure: ComparedMeasure) -> String {
        decimal(value, digits: digits(measure))
    }

    private static func signed(_ value: Double, _ measure: ComparedMeasure) -> String {
        let text = shown(value, measure)
        return text.hasPrefix("-") ? text : "+" + text
    }
}

extension BenchmarkComparison.Row {
    /// The members of the row's object, but for the names.
    var json: [(String, JSONText)] {
        [
            ("measure", .string(measure.rawValue)), ("first_value", .number(firstValue)),
            ("second_value", .number(secondValue)), ("difference", difference.json), ("p", .number(p)),
            ("p_adjusted", .number(adjusted)), ("verdict", .string(verdict.rawValue)),
        ]
    }
}
