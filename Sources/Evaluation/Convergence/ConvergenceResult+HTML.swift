extension ConvergenceResult {
    /// The result as one HTML page: what was found in words, figures and tables, for wide and narrow screens and for paper.
    ///
    /// Self-contained: no script, nothing is loaded from elsewhere. Text from the data set, the grid and errors is escaped. Only what
    /// stands in the section "Time and memory" depends on the machine's speed.
    public var html: String { ConvergencePage(result: self).html }
}

/// The page of a benchmark of convergence.
struct ConvergencePage {
    let result: ConvergenceResult
    /// The variants in the figures with their looks; the others stand in the tables only.
    let drawn: [(variant: ConvergenceResult.Variant, style: SeriesStyle)]
    /// The names of the others.
    private let left: [String]

    var evaluation: EvaluationResult { result.evaluation }

    init(result: ConvergenceResult) {
        self.result = result
        var drawn: [(variant: ConvergenceResult.Variant, style: SeriesStyle)] = []
        var left: [String] = []
        var position = 0
        for variant in result.variants {
            if Self.isNone(variant) {
                drawn.append((variant, .none))
            } else if let style = SeriesStyle(position: position) {
                drawn.append((variant, style))
                position += 1
            } else {
                left.append(variant.name)
            }
        }
        self.drawn = drawn
        self.left = left
    }

    /// Whether it is what gains are counted from.
    static func isNone(_ variant: ConvergenceResult.Variant) -> Bool {
        variant.name == EvaluationMethod.none.rawValue
    }

    /// Those in the figures, but for `none`.
    var curves: [(variant: ConvergenceResult.Variant, style: SeriesStyle)] { drawn.filter { !Self.isNone($0.variant) } }

    var html: String {
        ReportPage.html(
            title: "How fast adapters learn on \(evaluation.dataset)",
            parts: [
                lead, gainSection, qualitySection, shareSection, driftSection, rateSection, measuresSection,
                differencesSection, candidatesSection, machineSection, notes,
            ].filter { !$0.isEmpty })
    }
}

// MARK: - In words

extension ConvergencePage {
    private var lead: String {
        var text = """
            <p class="lead">\(markup(evaluation.subject))</p>
            <ul class="finding">
            \(findings.map { "<li>\($0)</li>" }.joined(separator: "\n"))
            </ul>
            """
        if evaluation.users < 20 { text += "\n<p>Only \(evaluation.users) users: the intervals say little.</p>" }
        if !left.isEmpty {
            // As many names as are quickly read; the tables have them all.
            let names = left.count <= SeriesStyle.count ? ": \(left.joined(separator: ", "))" : ""
            text +=
                "\n<p>The figures show the first \(SeriesStyle.count) variants of \(result.variants.count) in the order of the grid, "
                + "beside none. \(left.count) more stand in the tables only\(markup(names)).</p>"
        }
        return text
    }

    /// What was found for each measure that was compared, safe as markup.
    private var findings: [String] {
        let compared = result.variants.filter { !$0.differences.isEmpty }
        guard !compared.isEmpty else {
            return ["Nothing was compared: beside \(markup(result.reference)) there is no variant."]
        }
        return ComparedMeasure.allCases.compactMap { measure in
            let rows = compared.compactMap { variant in variant.differences.first { $0.measure == measure } }
            return rows.isEmpty ? nil : finding(measure, rows)
        }
    }

    private func finding(_ measure: ComparedMeasure, _ rows: [BenchmarkComparison.Row]) -> String {
        func gained(_ row: BenchmarkComparison.Row) -> Double {
            measure.isGain ? row.difference.mean : -row.difference.mean
        }
        let sure = rows.filter { $0.verdict == .better }
        let worse = rows.count { $0.verdict == .worse }
        let candidates = sure.isEmpty ? rows : sure
        // The first of equals.
        guard let top = candidates.reduce(nil, { best, row in best.map { gained(row) > gained($0) ? row : $0 } ?? row })
        else { return "" }
        // The numbers of one interval, and of one p, stay on a line.
        let numbers = "\(measure.differenceText(top.difference)), adjusted p\u{A0}\(probability(top.adjusted))"
        let name = "<strong>\(markup(top.second))</strong>"
        let reference = markup(result.reference)
        var text = "\(measure.title): "
        if !sure.isEmpty {
            text += "\(name) is surely better than \(reference), \(numbers)"
            text += sure.count > 1 ? "; the most of \(sure.count) that are." : "."
        } else if gained(top) <= 0 {
            text += "nothing is better than \(reference)."
        } else {
            text += "nothing is surely better than \(reference); "
            text += rows.count > 1 ? "\(name) comes first with \(numbers)." : "\(name) differs by \(numbers)."
        }
        if worse > 0 { text += " Surely worse: \(worse) of \(rows.count)." }
        return text
    }

    var notes: String {
        let choice =
            "Each variant's candidates are tried on the donors with one seed; the one with the highest NDCG@10 (engine and methods "
            + "that do not learn) or AUC (pairwise methods) is evaluated on the other users with all seeds. No evaluated user has a "
            + "part in any choice."
        let statistics =
            "Intervals are 95 % percentile intervals of \(evaluation.configuration.resamples) bootstrap resamples of users, differences "
            + "those of \(result.comparisonResamples). Methods are resampled together, so a difference is surer than two overlapping "
            + "intervals suggest. p is adjusted by Holm's method for all rows of the table of differences: among them all, the chance "
            + "of any false “better” or “worse” is at most \(shortNumber(BenchmarkComparison.level * 100)) %."
        let version = result.version.isEmpty ? "" : "Attune \(markup(result.version)). "
        return """
            <section>
            <h2>How to read this</h2>
            <p>\(evaluation.measuresExplained)</p>
            <p>\(choice)</p>
            <p>\(statistics)</p>
            <h2>How to have it again</h2>
            <pre>\(markup(result.command))</pre>
            <p>\(version)Data hash \(BenchmarkRecord.hex(evaluation.dataHash)). Other data, or the same with other donors, has another
            hash.</p>
            </section>
            """
    }
}

/// A p value for people.
func probability(_ value: Double) -> String { value < 0.00005 ? "below 0.0001" : decimal(value, digits: 4) }

extension ComparedMeasure {
    /// The measure's name in a report.
    var title: String {
        switch self {
        case .auc: "AUC"
        case .mrr: "MRR"
        case .ndcg10: "NDCG@10"
        case .hit10: "hit@10"
        case .area: "area (AUC·likes)"
        case .t90: "t90 (likes, to the reference's level)"
        case .worse: "users worse off (%)"
        }
    }

    /// How many decimals its values have in tables, and what they are multiplied by.
    var format: (digits: Int, factor: Double) {
        switch self {
        case .auc, .mrr, .ndcg10, .hit10: (4, 1)
        case .area: (2, 1)
        case .t90: (0, 1)
        case .worse: (1, 100)
        }
    }

    /// "+0.0371 [+0.0312, +0.0429]".
    func differenceText(_ value: Interval) -> String {
        func signed(_ x: Double) -> String {
            let text = decimal(x * format.factor, digits: format.digits)
            return (text.hasPrefix("-") ? "" : "+") + text
        }
        return "\(signed(value.mean)) [\(signed(value.low)),\u{A0}\(signed(value.high))]"
    }
}
