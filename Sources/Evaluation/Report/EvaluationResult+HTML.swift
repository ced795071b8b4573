extension EvaluationResult {
    /// The result as one HTML page: tables and SVG plots, light and dark, for wide and narrow screens.
    ///
    /// Self-contained: no script, nothing is loaded from elsewhere. Text from the data set is escaped.
    public var html: String {
        ReportPage.html(
            title: "Adapter convergence on \(dataset)",
            parts: [
                "<p class=\"lead\">\(markup(subject))</p>", "<p>\(markup(finding))</p>", gainSection, qualitySection,
                tableSection, notes,
            ])
    }

    /// What was measured, in words.
    var subject: String {
        let name = embeddings.isEmpty ? "" : " Embeddings: \(embeddings)."
        return
            "\(users) users, \(events) ranked events, \(items) items of dimension \(dimension); every setting was chosen on "
            + "\(donors) other users (donors). Query: \(queryText). Adapter rank \(configuration.rank), "
            + "\(configuration.seeds) seed\(configuration.seeds == 1 ? "" : "s").\(name)"
    }

    private var queryText: String {
        switch configuration.query {
        case .last: "the last like"
        case .profile: "the unit exponential average of the likes so far"
        }
    }

    /// The best method against none, in words.
    private var finding: String {
        let gains = methods.filter { $0.method != .none }
            .compactMap { m in difference(.auc, of: m.method, minus: .none).map { (m.method, $0) } }
        guard let best = gains.max(by: { $0.1.mean < $1.1.mean }) else { return "" }
        let verdict = best.1.low > 0 ? "gains most" : "comes first, but within its interval of zero"
        return "Against no adapter, \(best.0.rawValue) \(verdict): AUC \(best.1.signedText), paired over users."
    }

    private var gainSection: String {
        let curves = methods.filter { $0.method != .none }.map {
            GainPlot.Curve(name: $0.name, style: SeriesStyle($0.method), gains: $0.smoothedGains)
        }
        let plot = ReportPage.responsive(wide: 1_128) { width in
            GainPlot(curves: curves, steps: activeUsers.count, width: width, labelRoom: width > 420 ? 96 : nil).svg
        }
        return """
            <section>
            <h2>What is gained after how many likes</h2>
            <p>\(gainText)</p>
            \(ReportPage.legend(curves.map { ($0.name, $0.style) }, hasMarks: false))
            \(plot)
            </section>
            """
    }

    /// What a plot of the gain curves shows.
    var gainText: String {
        "AUC gain over no adapter, averaged over the users who have the step, as a centred mean of 7 steps. Bands: 95 % bootstrap "
            + "interval over users. Late steps rest on fewer users (\(activeUsers.first ?? 0) at step 1, \(activeUsers.last ?? 0) at "
            + "step \(activeUsers.count))."
    }

    private var qualitySection: String {
        func plot(
            _ heading: String, _ axis: String, factor: Double = 1, startsAtZero: Bool = false,
            _ value: (Method) -> Interval?
        ) -> String {
            let rows = methods.map {
                IntervalPlot.Row(name: $0.name, style: SeriesStyle($0.method), value: value($0))
            }
            return ReportPage.half(heading) { width in
                IntervalPlot(
                    title: heading, axis: axis, rows: rows, factor: factor, startsAtZero: startsAtZero, width: width
                ).svg
            }
        }
        var plots = [
            plot("Ranking quality: AUC", "AUC, mean over events", \.auc),
            plot("Top of the list: NDCG@10", "NDCG@10, mean over events", \.ndcg10),
            plot(
                "Users made worse off", "users with a lower AUC (%)", factor: 100, startsAtZero: true,
                \.worse),
        ]
        if methods.contains(where: { $0.t90 != nil }) {
            plots.append(
                plot("Likes until it works: t90", "likes until 90 % of cold's final gain", startsAtZero: true, \.t90))
        }
        if methods.contains(where: { $0.regret != nil }) {
            plots.append(
                plot("Regret", "AUC lost against the true preferences", startsAtZero: true, \.regret))
        }
        return ReportPage.pairs(plots)
    }

    private var tableSection: String {
        let settings = methods.map { m in
            let text = (["kappa \(m.kappa)"] + m.settings.map { "\($0.name) \($0.value)" }).joined(separator: ", ")
            return "<li>\(m.method.rawValue): \(markup(text))</li>"
        }
        return """
            <section>
            <h2>All measures</h2>
            <p>\(measuresText)</p>
            \(measuresTable(heading: "method", hasRegret: false, isDense: false).html)
            <h2>Settings chosen on donors</h2>
            <ul class="settings">
            \(settings.joined(separator: "\n"))
            </ul>
            </section>
            """
    }

    /// What the table of measures holds.
    var measuresText: String {
        "Means over events with 95 % intervals (\(configuration.resamples) resamples of users, the same for every method)."
    }

    /// Every measure of every method with its interval.
    func measuresTable(heading: String, hasRegret: Bool, isDense: Bool) -> ReportTable {
        var headings = [
            heading, "AUC", "NDCG@10", "MRR", "hit@10", "t90 (likes)", "saving", "area (AUC·likes)", "worse (%)",
        ]
        if hasRegret { headings.append("regret (AUC)") }
        return ReportTable(
            headings: headings,
            rows: methods.map { m in
                let cells: [ReportTable.Cell] = [
                    .text(m.name), .interval(m.auc, digits: 4), .interval(m.ndcg10, digits: 4),
                    .interval(m.mrr, digits: 4), .interval(m.hit10, digits: 4), .interval(m.t90, digits: 0),
                    .interval(m.saving, digits: 2), .interval(m.area, digits: 2),
                    .interval(m.worse, digits: 1, factor: 100),
                ]
                return hasRegret ? cells + [.interval(m.regret, digits: 4)] : cells
            }, isDense: isDense)
    }

    private var notes: String {
        "<section>\n<h2>How to read this</h2>\n<p>\(measuresExplained)</p>\n</section>"
    }

    /// What the measures are.
    var measuresExplained: String {
        """
        At each step a method ranks every item that has an embedding, except the user's likes so far; the next like is the
        target, and only then does the method learn from it. AUC: share of the other items ranked below the target. t90: the first
        step at which the smoothed gain reaches 0.9 times what cold gains over the last third of the steps; the number of steps when
        it never does. Saving: 1 − t90 / t90 of cold. Worse: share of users whose mean AUC is lower than without an adapter.
        """
    }
}
