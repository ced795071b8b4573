extension EvaluationResult {
    /// The result as one JSON object on one line.
    ///
    /// ```text
    /// {"dataset","embeddings","items","dimension","donors","users","events","query","rank","seeds","resamples",
    ///  "methods":{NAME:{"auc","ndcg10","mrr","hit10","t90","saving","area","worse","regret",
    ///                   "over_profile":{"auc","ndcg10"},"over_cold":{"auc","ndcg10","worse"},
    ///                   "kappa","settings","seconds"}}}
    /// ```
    ///
    /// `over_profile` and `over_cold` are paired differences from the methods `profile` and `cold`, null when those were not
    /// run. Each measure is `{"mean","low","high"}`, or null where it is not defined. Numbers have the shortest form that
    /// reads back the same.
    public var json: String {
        JSONText.object(
            facts + [
                (
                    "methods",
                    .object(
                        methods.map { method in
                            (
                                method.name,
                                .object(
                                    method.json(overProfile: overProfile(method.name), overCold: overCold(method.name)))
                            )
                        })
                )
            ]
        ).text
    }
}

extension EvaluationResult {
    /// What the data is and what was asked for.
    var facts: [(String, JSONText)] {
        [
            ("dataset", .string(dataset)),
            ("embeddings", embeddings.isEmpty ? .null : .string(embeddings)),
            ("items", .integer(items)),
            ("dimension", .integer(dimension)),
            ("donors", .integer(donors)),
            ("users", .integer(users)),
            ("events", .integer(events)),
            ("query", .string(configuration.query.rawValue)),
            ("rank", .integer(configuration.rank)),
            ("seeds", .integer(configuration.seeds)),
            ("resamples", .integer(configuration.resamples)),
        ]
    }

    func overProfile(_ name: String) -> [(String, Interval?)] {
        [
            ("auc", difference(.auc, of: name, minus: EvaluationMethod.profile.rawValue)),
            ("ndcg10", difference(.ndcg10, of: name, minus: EvaluationMethod.profile.rawValue)),
        ]
    }

    func overCold(_ name: String) -> [(String, Interval?)] {
        [
            ("auc", difference(.auc, of: name, minus: EvaluationMethod.cold.rawValue)),
            ("ndcg10", difference(.ndcg10, of: name, minus: EvaluationMethod.cold.rawValue)),
            ("worse", differenceOfWorse(of: name, minus: EvaluationMethod.cold.rawValue)),
        ]
    }
}

extension EvaluationResult.Method {
    /// The members of the method's object.
    func json(overProfile: [(String, Interval?)], overCold: [(String, Interval?)]) -> [(String, JSONText)] {
        func value(_ interval: Interval?) -> JSONText { interval.map(\.json) ?? .null }
        func values(_ intervals: [(String, Interval?)]) -> JSONText {
            intervals.allSatisfy { $0.1 == nil } ? .null : .object(intervals.map { ($0.0, value($0.1)) })
        }
        return [
            ("auc", value(auc)), ("ndcg10", value(ndcg10)), ("mrr", value(mrr)), ("hit10", value(hit10)),
            ("t90", value(t90)), ("saving", value(saving)), ("area", value(area)), ("worse", value(worse)),
            ("regret", value(regret)),
            ("over_profile", values(overProfile)),
            ("over_cold", values(overCold)),
            ("kappa", .number(kappa)),
            ("settings", .object(settings.map { ($0.name, .number($0.value)) })),
            ("seconds", .number(duration / .seconds(1))),
        ]
    }
}

extension Interval {
    /// `{"mean","low","high"}`.
    var json: JSONText {
        .object([("mean", .number(mean)), ("low", .number(low)), ("high", .number(high))])
    }
}
