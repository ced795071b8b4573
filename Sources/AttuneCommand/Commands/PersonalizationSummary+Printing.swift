import Attune

extension PersonalizationSummary {
    /// The summary for people: what was done, then what it changed.
    func text(adaptersWritten: Int?, output: String?, store: String? = nil) -> String {
        let queries = query == .profile ? "the average of a user's likes so far" : "a user's latest like"
        let seconds = duration / .seconds(1)
        let gone = forgotten > 0 ? "; \(forgotten) likes are of users who were forgotten, and were refused" : ""
        if updates == 0, known > 0, let store {
            return
                "All \(known) likes of \(printable(dataset)) are in \(printable(store)) already: nothing was learned, and "
                + "nothing was ranked\(gone).\n"
        }
        var lines = """
            Personalized \(users) users of \(printable(dataset)): \(updates) updates, one for each like but a user's first, \
            in \(decimal(seconds, digits: 1)) s.
            Every like was first ranked among all \(items) items, then learned; the query is \(queries).
            Scores add κ·log(1 + donors' likes): κ \(decimal(plainPopularityWeight, digits: 2)) without, tuned on donors, \
            and \(decimal(popularityWeight, digits: 2)) personalized.


            """
        var table = TextTable()
        table.add(["", "without", "personalized", "gain (95 % interval)"])
        let names = ["auc": "AUC", "ndcg10": "NDCG@10", "mrr": "MRR", "hit10": "hit@10"]
        for ranking in rankings {
            table.add([
                names[ranking.measure] ?? ranking.measure, decimal(ranking.before.mean, digits: 4),
                decimal(ranking.after.mean, digits: 4),
                ranking.gain.signedText,
            ])
        }
        lines += table.text + "\n"
        table = TextTable()
        table.add([
            "mean loss of a like",
            "\(decimal(lossBefore, digits: 4)) before its update, \(decimal(lossAfter, digits: 4)) after it",
        ])
        table.add([
            "users worse off (AUC)",
            "\(decimal(100 * worse.mean, digits: 1)) % of \(users) "
                + "[\(decimal(100 * worse.low, digits: 1)), \(decimal(100 * worse.high, digits: 1))]",
        ])
        table.add(["speed", "\(Int(updatesPerSecond)) updates per second and core, through the engine"])
        table.add([
            "adapters",
            "rank \(rank), dimension \(dimension), \(adapterBytes / max(adapters, 1)) bytes each",
        ])
        if let store {
            table.add(["stored", "in \(printable(store)); \(known) likes were there already and were skipped\(gone)"])
        }
        if let output {
            let count = adaptersWritten.map { "\($0) adapters" } ?? "not all adapters"
            table.add(["written", "\(count) to \(printable(output))"])
        } else if store == nil {
            table.add(["written", "nothing; --output DIR keeps the adapters"])
        }
        return lines + table.text
    }

    /// The summary for programs.
    func json(adaptersWritten: Int?) -> JSONText {
        func interval(_ value: Interval) -> JSONText {
            .object([("mean", .number(value.mean)), ("low", .number(value.low)), ("high", .number(value.high))])
        }
        return .object([
            ("dataset", .string(dataset)), ("items", .integer(items)), ("dimension", .integer(dimension)),
            ("rank", .integer(rank)), ("query", .string(query.rawValue)),
            (
                "popularity_weight",
                .object([
                    ("without", .number(plainPopularityWeight)), ("personalized", .number(popularityWeight)),
                ])
            ),
            ("users", .integer(users)), ("updates", .integer(updates)), ("already_known", .integer(known)),
            ("forgotten", .integer(forgotten)),
            ("seconds", .number(duration / .seconds(1))), ("updates_per_second", .number(updatesPerSecond)),
            (
                "loss",
                // Of nothing there is no mean.
                updates == 0 ? .null : .object([("before", .number(lossBefore)), ("after", .number(lossAfter))])
            ),
            (
                "ranking",
                users == 0
                    ? .null
                    : .object(
                        rankings.map { ranking in
                            (
                                ranking.measure,
                                .object([
                                    ("without", interval(ranking.before)), ("personalized", interval(ranking.after)),
                                    ("gain", interval(ranking.gain)),
                                ])
                            )
                        })
            ),
            ("worse", users == 0 ? .null : interval(worse)), ("adapter_bytes", .integer(adapterBytes)),
            ("adapters_written", adaptersWritten.map { .integer($0) } ?? .null),
        ])
    }
}
