extension EvaluationResult {
    /// The result as a table for a terminal of 100 columns, followed by what the columns mean.
    public var table: String {
        var lines = [heading, ""]
        let hasRegret = methods.contains { $0.regret != nil }
        var columns = ["method", "AUC", "NDCG@10", "MRR", "hit@10", "t90", "saving", "worse"]
        if hasRegret { columns.append("regret") }
        var rows: [[String]] = [columns]
        for method in methods {
            var row = [
                method.name, method.auc.text(digits: 4), method.ndcg10.text(digits: 4),
                method.mrr.text(digits: 4), method.hit10.text(digits: 4),
                method.t90.map { decimal($0.mean, digits: 0) } ?? "-",
                method.saving.map { decimal($0.mean, digits: 2) } ?? "-",
                method.worse.map { decimal($0.mean * 100, digits: 0) + " %" } ?? "-",
            ]
            if hasRegret { row.append(method.regret.map { decimal($0.mean, digits: 4) } ?? "-") }
            rows.append(row)
        }
        let widths = columns.indices.map { c in rows.map { $0[c].count }.max() ?? 0 }
        for row in rows {
            let cells = row.indices.map { c in
                let padding = String(repeating: " ", count: widths[c] - row[c].count)
                return c == 0 ? row[c] + padding : padding + row[c]
            }
            lines.append(cells.joined(separator: "  "))
        }
        lines.append("")
        lines += gainLines(over: .none)
        lines += gainLines(over: .profile)
        lines += explanation(hasRegret: hasRegret)
        return lines.joined(separator: "\n")
    }

    private var heading: String {
        let name = embeddings.isEmpty ? dataset : "\(dataset), embeddings \(embeddings)"
        return "\(name): \(items) items of dimension \(dimension), \(users) users with \(events) ranked events, "
            + "settings tuned on \(donors) donors, query \(configuration.query.rawValue), rank \(configuration.rank), "
            + "\(configuration.seeds) seed\(configuration.seeds == 1 ? "" : "s")"
    }

    /// What each method gains over another, with its paired interval.
    private func gainLines(over reference: EvaluationMethod) -> [String] {
        var rows: [String] = []
        let width = methods.map(\.name.count).max() ?? 0
        for method in methods where ![EvaluationMethod.none.rawValue, reference.rawValue].contains(method.name) {
            guard let auc = difference(.auc, of: method.name, minus: reference.rawValue),
                let ndcg = difference(.ndcg10, of: method.name, minus: reference.rawValue)
            else { continue }
            let name = method.name + String(repeating: " ", count: width - method.name.count)
            rows.append("\(name)  AUC \(auc.signedText)   NDCG@10 \(ndcg.signedText)")
        }
        return rows.isEmpty ? [] : ["Gain over \(reference.rawValue), paired, with 95 % intervals:"] + rows + [""]
    }

    private func explanation(hasRegret: Bool) -> [String] {
        var lines = [
            "± is half the width of the 95 % interval (\(configuration.resamples) resamples of users). AUC: share of the other"
                + " items ranked below the next",
            "like. t90: likes needed for 90 % of what cold gains in the end (all, if never reached); saving: 1 - t90 / t90 of cold. worse: share of users"
                + " whose AUC",
            "is lower than with none.",
        ]
        if users < 20 { lines.append("Only \(users) users: the intervals say little.") }
        lines.append("Scores add κ·log(1 + donors' likes), κ tuned on the donors, for every method alike.")
        if hasRegret { lines.append("regret: AUC lost in expectation against ranking by the users' true preferences.") }
        return lines
    }
}

/// A number with a fixed count of decimals, rounded half away from zero; "-" when it is not finite.
package func decimal(_ value: Double, digits: Int) -> String {
    guard value.isFinite, abs(value) < 1e12 else { return "-" }
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    let scaled = Int((abs(value) * scale).rounded())
    let sign = value < 0 && scaled > 0 ? "-" : ""
    guard digits > 0 else { return sign + "\(scaled)" }
    let whole = scaled / Int(scale)
    let part = "\(scaled % Int(scale))"
    return sign + "\(whole)." + String(repeating: "0", count: digits - part.count) + part
}

extension Interval {
    /// "0.8407 ±0.0102".
    func text(digits: Int) -> String {
        decimal(mean, digits: digits) + " ±" + decimal((high - low) / 2, digits: digits)
    }

    /// "+0.0371 [+0.0312, +0.0429]".
    package var signedText: String {
        func signed(_ value: Double) -> String { (value < 0 ? "" : "+") + decimal(value, digits: 4) }
        return "\(signed(mean)) [\(signed(low)), \(signed(high))]"
    }
}
