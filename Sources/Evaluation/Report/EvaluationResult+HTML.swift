extension EvaluationResult {
    /// The result as one HTML page: tables and SVG plots, light and dark, for wide and narrow screens.
    ///
    /// Self-contained: no script, nothing is loaded from elsewhere (a content security policy says so to the browser).
    /// Text from the data set is escaped.
    public var html: String {
        let title = "Adapter convergence on \(dataset)"
        return """
            <!DOCTYPE html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
            <title>\(markup(title))</title>
            <style>
            \(ReportStyle.text)
            </style>
            </head>
            <body>
            <main>
            <h1>\(markup(title))</h1>
            <p class="lead">\(markup(subject))</p>
            <p>\(markup(finding))</p>
            \(gainSection)
            \(qualitySection)
            \(tableSection)
            \(notes)
            </main>
            </body>
            </html>

            """
    }

    private var subject: String {
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

    /// The plot for wide screens and the one for narrow screens, of which the style sheet shows one.
    private func responsive(_ svg: (_ width: Double, _ isWide: Bool) -> String, wide: Double) -> String {
        "<div class=\"wide\">\(svg(wide, true))</div>\n<div class=\"narrow\">\(svg(358, false))</div>"
    }

    private var gainSection: String {
        let legend = methods.filter { $0.method != .none }.map { method in
            let name = method.method.rawValue
            return
                "<li><svg viewBox=\"0 0 34 10\" aria-hidden=\"true\"><line class=\"line c-\(name)\" x1=\"0\" x2=\"34\" y1=\"5\""
                + " y2=\"5\"/></svg>\(name)</li>"
        }
        return """
            <section>
            <h2>What is gained after how many likes</h2>
            <p>AUC gain over no adapter, averaged over the users who have the step, as a centred mean of 7 steps. Bands: 95 % bootstrap
            interval over users. Late steps rest on fewer users (\(activeUsers.first ?? 0) at step 1, \(activeUsers.last ?? 0) at step
            \(activeUsers.count)).</p>
            <ul class="legend">
            \(legend.joined(separator: "\n"))
            </ul>
            \(responsive({ GainPlot(result: self, width: $0, labelsLines: $1).svg }, wide: 1_128))
            </section>
            """
    }

    private var qualitySection: String {
        func plot(
            _ heading: String, _ axis: String, factor: Double = 1, startsAtZero: Bool = false,
            _ value: (Method) -> Interval?
        ) -> String {
            let rows = methods.map { (name: $0.method.rawValue, value: value($0)) }
            let svg = { (width: Double, isWide: Bool) in
                IntervalPlot(
                    title: heading, axis: axis, rows: rows, factor: factor, startsAtZero: startsAtZero, width: width
                ).svg
            }
            return "<section>\n<h2>\(markup(heading))</h2>\n\(responsive(svg, wide: 540))\n</section>"
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
        return "<div class=\"pair\">\n\(plots.joined(separator: "\n"))\n</div>"
    }

    private var tableSection: String {
        func cell(_ value: Interval?, digits: Int, factor: Double = 1) -> String {
            guard let value else { return "<td>–</td>" }
            func text(_ x: Double) -> String { decimal(x * factor, digits: digits) }
            return "<td>\(text(value.mean))<small>\(text(value.low)) to \(text(value.high))</small></td>"
        }
        let rows = methods.map { m in
            "<tr><td>\(m.method.rawValue)</td>" + cell(m.auc, digits: 4) + cell(m.ndcg10, digits: 4)
                + cell(m.mrr, digits: 4) + cell(m.hit10, digits: 4) + cell(m.t90, digits: 0) + cell(m.saving, digits: 2)
                + cell(m.area, digits: 2) + cell(m.worse, digits: 1, factor: 100) + "</tr>"
        }
        let settings = methods.map { m in
            let text = (["kappa \(m.kappa)"] + m.settings.map { "\($0.name) \($0.value)" }).joined(separator: ", ")
            return "<li>\(m.method.rawValue): \(markup(text))</li>"
        }
        return """
            <section>
            <h2>All measures</h2>
            <p>Means over events with 95 % intervals (\(configuration.resamples) resamples of users, the same for every method).</p>
            <div class="scroll">
            <table>
            <thead><tr><th>method</th><th>AUC</th><th>NDCG@10</th><th>MRR</th><th>hit@10</th><th>t90 (likes)</th><th>saving</th>
            <th>area (AUC·likes)</th><th>worse (%)</th></tr></thead>
            <tbody>
            \(rows.joined(separator: "\n"))
            </tbody>
            </table>
            </div>
            <h2>Settings chosen on donors</h2>
            <ul class="settings">
            \(settings.joined(separator: "\n"))
            </ul>
            </section>
            """
    }

    private var notes: String {
        """
        <section>
        <h2>How to read this</h2>
        <p>At each step a method ranks every item that has an embedding, except the user's likes so far; the next like is the
        target, and only then does the method learn from it. AUC: share of the other items ranked below the target. t90: the first
        step at which the smoothed gain reaches 0.9 times what cold gains over the last third of the steps; the number of steps when
        it never does. Saving: 1 − t90 / t90 of cold. Worse: share of users whose mean AUC is lower than without an adapter.</p>
        </section>
        """
    }
}
