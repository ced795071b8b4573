import TensorCore

extension ConvergencePage {
    var measuresSection: String {
        let hasRegret = result.variants.contains { $0.measures.regret != nil }
        return """
            <section>
            <h2>All measures</h2>
            <p>\(evaluation.measuresText)</p>
            \(evaluation.measuresTable(heading: "variant", hasRegret: hasRegret, isDense: true).html)
            </section>
            """
    }

    var differencesSection: String {
        let rows = result.variants.flatMap(\.differences)
        guard !rows.isEmpty else { return "" }
        let table = ReportTable(
            headings: [
                "variant", "measure", "verdict", "difference", "p", "adjusted p", result.reference,
                "the variant",
            ],
            rows: rows.map { row in
                let (digits, factor) = row.measure.format
                func text(_ value: Double) -> ReportTable.Cell { .text(decimal(value * factor, digits: digits)) }
                return [
                    .text(row.second), .words(row.measure.title), .words(verdict(row)),
                    .interval(row.difference, digits: digits, factor: factor, signed: true), .text(probability(row.p)),
                    .text(probability(row.adjusted)), text(row.firstValue), text(row.secondValue),
                ]
            }, words: [1, 2], isDense: true)
        return """
            <section>
            <h2>Differences from \(markup(result.reference))</h2>
            <p>Paired over users, with 95 % intervals; p adjusted for all \(rows.count) rows.</p>
            \(table.html)
            </section>
            """
    }

    private func verdict(_ row: BenchmarkComparison.Row) -> String {
        switch row.verdict {
        case .better: "surely better"
        case .worse: "surely worse"
        case .unclear: "the data cannot tell"
        }
    }

    var candidatesSection: String {
        let rows = result.variants.flatMap { variant in
            variant.candidates.isEmpty
                ? [row(variant, settings: "nothing to choose", variant.measures.kappa, nil, nil, "")]
                : variant.candidates.map { candidate in
                    let settings = candidate.settings.map { "\($0.name) \($0.value)" }.joined(separator: ", ")
                    return row(
                        variant, settings: settings.isEmpty ? "–" : settings, candidate.kappa, candidate.auc,
                        candidate.ndcg10,
                        candidate.failure.map { "failed: \($0)" } ?? (candidate.isChosen ? "chosen" : ""))
                }
        }
        let table = ReportTable(
            headings: ["variant", "settings", "outcome", "κ", "AUC of donors", "NDCG@10 of donors"], rows: rows,
            words: [1, 2], isDense: true)
        return """
            <section>
            <h2>Every setting that was tried</h2>
            <p>What each candidate did for the \(evaluation.donors) donors, with one seed and 95 % intervals over donors. κ is the weight of
            log(1 + donors' likes) in every score.</p>
            \(table.html)
            </section>
            """
    }

    private func row(
        _ variant: ConvergenceResult.Variant, settings: String, _ kappa: Double, _ auc: Interval?, _ ndcg10: Interval?,
        _ outcome: String
    ) -> [ReportTable.Cell] {
        [
            .text(variant.name), .words(settings), .words(outcome), .text(shortNumber(kappa)),
            .interval(auc, digits: 4), .interval(ndcg10, digits: 4),
        ]
    }

    /// All that depends on the machine.
    var machineSection: String {
        let rows = result.variants.map { variant -> [ReportTable.Cell] in
            let tuning = variant.candidates.reduce(Duration.zero) { $0 + $1.duration }
            return [
                .text(variant.name),
                .text(variant.learningTime.map { decimal($0 / .microseconds(1), digits: 1) } ?? "–"),
                .text(variant.bytesPerAdapter.map(String.init) ?? "grows with the likes"),
                .text(decimal(tuning / .seconds(1), digits: 2)),
                .text(decimal(variant.measures.duration / .seconds(1), digits: 2)),
            ]
        }
        let table = ReportTable(
            headings: ["variant", "µs per update", "bytes per adapter", "seconds of tuning", "seconds of evaluation"],
            rows: rows, isDense: true)
        return """
            <section id="\(Self.machineID)">
            <h2>Time and memory</h2>
            <p>These times depend on the machine and on what else it did; everything else on this page does not. An update is timed while
            tasks share the machine. Bytes are those of one user's adapter with its optimizer's state.</p>
            \(table.html)
            </section>
            """
    }

    /// What names the section that depends on the machine.
    static let machineID = "machine"
}
