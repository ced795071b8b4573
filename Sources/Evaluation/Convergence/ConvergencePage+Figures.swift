extension ConvergencePage {
    private var legend: String {
        ReportPage.legend(curves.map { ($0.variant.name, $0.style) }, hasMarks: true)
    }

    var gainSection: String {
        guard !curves.isEmpty else { return "" }
        let lines = curves.map {
            GainPlot.Curve(name: $0.variant.name, style: $0.style, gains: $0.variant.measures.smoothedGains)
        }
        let room = lines.map { textWidth($0.name) + 20 }.max() ?? 0
        let plot = ReportPage.responsive(wide: 1_128) { width in
            GainPlot(
                curves: lines, steps: evaluation.activeUsers.count, width: width,
                labelRoom: width > 420 && room <= 240 ? max(room, 60) : nil, hasMarks: true
            ).svg
        }
        return """
            <section>
            <h2>What is gained after how many likes</h2>
            <p>\(evaluation.gainText)</p>
            \(legend)
            \(plot)
            </section>
            """
    }

    /// One measure of all that is drawn.
    private func intervals(
        _ heading: String, _ axis: String, text: String = "", factor: Double = 1, startsAtZero: Bool = false,
        hasNone: Bool = true, _ value: (EvaluationResult.Method) -> Interval?
    ) -> String {
        let rows = (hasNone ? drawn : curves).map {
            IntervalPlot.Row(name: $0.variant.name, style: $0.style, value: value($0.variant.measures))
        }
        return ReportPage.half(heading, text) { width in
            IntervalPlot(
                title: heading, axis: axis, rows: rows, factor: factor, startsAtZero: startsAtZero, width: width,
                hasMarks: true
            ).svg
        }
    }

    var qualitySection: String {
        var plots: [String] = []
        func isKnown(_ value: (EvaluationResult.Method) -> Interval?) -> Bool {
            drawn.contains { value($0.variant.measures) != nil }
        }
        if isKnown(\.t90) {
            plots.append(
                intervals("How soon: t90", "likes until 90 % of cold's final gain", startsAtZero: true, \.t90))
        }
        if isKnown(\.saving) {
            plots.append(
                intervals(
                    "Likes saved against cold", "saved (% of cold's t90)", factor: 100, startsAtZero: true, \.saving))
        }
        plots.append(intervals("Final quality: AUC", "AUC, mean over events", \.auc))
        plots.append(intervals("Top of the list: NDCG@10", "NDCG@10, mean over events", \.ndcg10))
        plots.append(
            intervals("Gain over all steps: area", "area under the gain (AUC · likes)", startsAtZero: true, \.area))
        if isKnown(\.regret) {
            plots.append(
                intervals("Regret", "AUC lost against the true preferences", startsAtZero: true, \.regret))
        }
        return ReportPage.pairs(plots)
    }

    var shareSection: String {
        guard !curves.isEmpty else { return "" }
        let lines = curves.map {
            SharePlot.Curve(name: $0.variant.name, style: $0.style, values: $0.variant.userGains)
        }
        let distribution = ReportPage.half(
            "Who gains, who loses",
            "Users from the one who loses most to the one who gains most: the share whose mean AUC less that without an adapter is below "
                + "the value on the axis. Where a line crosses zero is the share that is worse off. Lines further right are better.",
            legend: legend + "\n"
        ) { width in
            SharePlot(curves: lines, axis: "user's AUC less that without adapter", width: width).svg
        }
        // A figure of nothing but zeros would look empty.
        let isAnyoneWorse = curves.contains { ($0.variant.measures.worse?.high ?? 0) > 0 }
        guard isAnyoneWorse else {
            return ReportPage.pairs([
                distribution,
                "<section>\n<h2>Users worse off</h2>\n<p>None of the \(evaluation.users) users, with any variant.</p>\n</section>",
            ])
        }
        let worse = intervals(
            "Users worse off", "users with a lower AUC (%)",
            text:
                "The lines' heights at zero, with 95 % intervals over users: with so many of them nothing would have been better.",
            factor: 100, startsAtZero: true, hasNone: false, \.worse)
        return ReportPage.pairs([distribution, worse])
    }

    var rateSection: String {
        let all = curves.compactMap { curve in
            RateSensitivity(curve.variant).map { (sensitivity: $0, style: curve.style) }
        }
        guard !all.isEmpty else { return "" }
        let plots = all.map { entry in
            let failed = entry.sensitivity.failures.map(shortNumber).joined(separator: ", ")
            return "<section>\n<h3>\(markup(entry.sensitivity.variant))</h3>\n"
                + ReportPage.responsive(wide: 540) { width in
                    RatePlot(sensitivity: entry.sensitivity, style: entry.style, width: width).svg
                } + (failed.isEmpty ? "" : "\n<p>The adapters could not bear a rate of \(failed).</p>") + "\n</section>"
        }
        return """
            <section>
            <h2>How much hangs on the learning rate</h2>
            <p>What each rate did for the donors, with 95 % intervals over donors, by the measure that the rate was chosen by. In colour:
            the candidates that differ from the chosen one in nothing but the rate. Grey lines: other settings. Crosses on the axis:
            rates that the adapters could not bear.</p>
            \(ReportPage.pairs(plots))
            </section>
            """
    }

    var driftSection: String {
        let points = curves.compactMap { curve in
            curve.variant.drift.map {
                ScatterPlot.Point(name: curve.variant.name, style: curve.style, x: $0.adaptation, y: $0.forgetting)
            }
        }
        guard !points.isEmpty else { return "" }
        let frontiers = StrengthFrontier.all(of: curves.map(\.variant))
        let plot = ReportPage.responsive(wide: 1_128) { width in
            ScatterPlot(
                title: "Forgetting of the old taste against adaptation to the new one, by method",
                xAxis: "adaptation: AUC gain on the new taste", yAxis: "forgetting: AUC gain lost", points: points,
                lines: frontiers.map(\.places), width: width
            ).svg
        }
        let joined = frontiers.map { frontier in
            let ends = zip(frontier.places, frontier.values).map { "\(curves[$0].variant.name) (\($1))" }
            return "<li>\(frontier.setting): \(markup(ends.joined(separator: " → ")))</li>"
        }
        let lines =
            joined.isEmpty
            ? ""
            : "\n<p>Dashed lines join variants that differ in nothing but one setting, from its lowest value to its highest:</p>\n<ul "
                + "class=\"settings\">\n\(joined.joined(separator: "\n"))\n</ul>"
        let rows = result.variants.compactMap { variant in
            variant.drift.map { drift in
                [.text(variant.name)]
                    + [drift.before, drift.adaptation, drift.after, drift.forgetting].map {
                        ReportTable.Cell.interval($0, digits: 4, signed: true)
                    }
            }
        }
        return """
            <section>
            <h2>Forgetting against adaptation</h2>
            <p>Everybody's taste changes, and after a while the old one comes back. To the right: more is gained on the new taste.
            Upwards: more of what was gained on the old one is lost when it returns. Best is right and low; a setting that forgets less
            only because it learns less moves left as it moves down. Bars: 95 % intervals over users.</p>
            \(legend)
            \(plot)\(lines)
            \(ReportTable(headings: ["variant", "before the change", "adaptation", "after the return", "forgetting"], rows: rows, isDense: true).html)
            </section>
            """
    }
}
