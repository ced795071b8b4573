extension EvaluationResult {
    /// The result as one JSON object on one line.
    ///
    /// ```text
    /// {"dataset","embeddings","items","dimension","donors","users","events","query","rank","seeds","resamples",
    ///  "methods":{NAME:{"auc","ndcg10","mrr","hit10","t90","saving","area","worse","regret",
    ///                   "over_profile":{"auc","ndcg10"},"kappa","settings","seconds"}}}
    /// ```
    ///
    /// `over_profile` is the paired difference from the method `profile`, null when that was not run. Each measure is `{"mean","low","high"}`, or null where it is not defined. Numbers have the shortest form that
    /// reads back the same.
    public var json: String {
        JSONText.object([
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
            ("methods", .object(methods.map { ($0.method.rawValue, $0.json(overProfile: overProfile($0.method))) })),
        ]).text
    }
}

extension EvaluationResult {
    private func overProfile(_ method: EvaluationMethod) -> [(String, Interval?)] {
        [
            ("auc", difference(.auc, of: method, minus: .profile)),
            ("ndcg10", difference(.ndcg10, of: method, minus: .profile)),
        ]
    }
}

extension EvaluationResult.Method {
    fileprivate func json(overProfile: [(String, Interval?)]) -> JSONText {
        func value(_ interval: Interval?) -> JSONText {
            guard let interval else { return .null }
            return .object([
                ("mean", .number(interval.mean)), ("low", .number(interval.low)), ("high", .number(interval.high)),
            ])
        }
        return .object([
            ("auc", value(auc)), ("ndcg10", value(ndcg10)), ("mrr", value(mrr)), ("hit10", value(hit10)),
            ("t90", value(t90)), ("saving", value(saving)), ("area", value(area)), ("worse", value(worse)),
            ("regret", value(regret)),
            (
                "over_profile",
                overProfile.allSatisfy { $0.1 == nil } ? .null : .object(overProfile.map { ($0.0, value($0.1)) })
            ),
            ("kappa", .number(kappa)),
            ("settings", .object(settings.map { ($0.name, .number($0.value)) })),
            ("seconds", .number(duration / .seconds(1))),
        ])
    }
}
