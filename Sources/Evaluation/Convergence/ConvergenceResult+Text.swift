extension ConvergenceResult {
    /// The result for a terminal of 100 columns: the table of measures, what was chosen, how it differs from the reference.
    public var table: String {
        var lines = [evaluation.table, "", "Chosen on the donors:"]
        let width = variants.map(\.name.count).max() ?? 0
        func padded(_ name: String) -> String { name + String(repeating: " ", count: width - name.count) }
        for variant in variants {
            let failed = variant.candidates.count { $0.failure != nil }
            var text = variant.candidates.first { $0.isChosen }?.text ?? "nothing to choose"
            if variant.candidates.count > 1 { text += " (of \(variant.candidates.count) candidates" }
            if failed > 0 { text += ", of which \(failed) failed" }
            if variant.candidates.count > 1 { text += ")" }
            lines.append("\(padded(variant.name))  \(text)")
        }
        if variants.contains(where: { $0.drift != nil }) {
            lines += [
                "",
                "AUC over none, before the taste changes, on the new taste (adaptation), when the old one is back, and "
                    + "what was forgotten of it:",
            ]
            for variant in variants {
                guard let drift = variant.drift else { continue }
                let values = [drift.before, drift.adaptation, drift.after, drift.forgetting].map(\.signedText)
                lines.append("\(padded(variant.name))  " + values.joined(separator: "  "))
            }
            lines += ["", "The same, more than \(reference), paired:"]
            for variant in variants {
                guard let drift = variant.driftDifference else { continue }
                let values = [drift.before, drift.adaptation, drift.after, drift.forgetting].map(\.signedText)
                lines.append("\(padded(variant.name))  " + values.joined(separator: "  "))
            }
        }
        let compared = variants.filter { !$0.differences.isEmpty }
        if !compared.isEmpty {
            lines += ["", "Against \(reference), paired, p adjusted for all rows (Holm):"]
            for variant in compared {
                for row in variant.differences {
                    let signs = row.measure == .t90 ? row.difference.countText : row.difference.signedText
                    lines.append(
                        "\(padded(variant.name))  \(row.measure.rawValue)  \(signs)  p \(decimal(row.adjusted, digits: 4))  "
                            + row.verdict.rawValue)
                }
            }
        }
        return lines.joined(separator: "\n")
    }

    /// The result as one JSON object on one line.
    ///
    /// ```text
    /// {"version","command","data_hash","reference","comparison_resamples",
    ///  "dataset","embeddings","items","dimension","donors","users","events","query","rank","seeds","resamples",
    ///  "variants":[{"name","method","candidates":[{"settings":{},"kappa","auc","ndcg10","failure","seconds","chosen"}],
    ///               "auc","ndcg10","mrr","hit10","t90","saving","area","worse","regret","over_profile","over_cold",
    ///               "kappa","settings","seconds","differences":[{"measure","first_value","second_value","difference",
    ///               "p","p_adjusted","verdict"}],"drift":{"before","adaptation","after","forgetting"},"drift_difference","user_gains":[],"bytes_per_adapter","microseconds_per_update",
    ///               "gains":[],"smoothed_gains":[]}]}
    /// ```
    ///
    /// `drift` is null where tastes do not change; `drift_difference`, of the same form, is what is more than the reference's. `user_gains` are each user's mean AUC less that with `none`. Measures and curves are `{"mean","low","high"}` as in
    /// ``EvaluationResult/json``. Only what is called `seconds` or `microseconds` depends on the machine's speed.
    public var json: String {
        JSONText.object(
            [
                ("version", .string(version)), ("command", .string(command)),
                ("data_hash", .string(BenchmarkRecord.hex(evaluation.dataHash))), ("reference", .string(reference)),
                ("comparison_resamples", .integer(comparisonResamples)),
            ] + evaluation.facts + [("variants", .array(variants.map { .object(members(of: $0)) }))]
        ).text
    }

    private func members(of variant: Variant) -> [(String, JSONText)] {
        let measures = variant.measures.json(
            overProfile: evaluation.overProfile(variant.name), overCold: evaluation.overCold(variant.name))
        return [
            ("name", .string(variant.name)), ("method", .string(variant.method.rawValue)),
            ("candidates", .array(variant.candidates.map { .object($0.members) })),
        ] + measures + [
            ("differences", .array(variant.differences.map { .object($0.json) })),
            ("drift", variant.drift?.json ?? .null), ("drift_difference", variant.driftDifference?.json ?? .null),
            ("user_gains", .array(variant.userGains.map { .number($0) })),
            ("bytes_per_adapter", variant.bytesPerAdapter.map { .integer($0) } ?? .null),
            ("microseconds_per_update", variant.learningTime.map { .number($0 / .microseconds(1)) } ?? .null),
            ("gains", .array(variant.measures.gains.map(\.json))),
            ("smoothed_gains", .array(variant.measures.smoothedGains.map(\.json))),
        ]
    }
}

extension DriftMeasures {
    fileprivate var json: JSONText {
        .object([
            ("before", before.json), ("adaptation", adaptation.json), ("after", after.json),
            ("forgetting", forgetting.json),
        ])
    }
}

extension ConvergenceResult.Candidate {
    fileprivate var members: [(String, JSONText)] {
        [
            ("settings", .object(settings.map { ($0.name, .string($0.value)) })), ("kappa", .number(kappa)),
            ("auc", auc?.json ?? .null), ("ndcg10", ndcg10?.json ?? .null),
            ("failure", failure.map { .string($0) } ?? .null), ("seconds", .number(duration / .seconds(1))),
            ("chosen", .bool(isChosen)),
        ]
    }
}

extension Interval {
    /// "-6 [-12, 0]".
    fileprivate var countText: String {
        func signed(_ value: Double) -> String { (value > 0 ? "+" : "") + decimal(value, digits: 0) }
        return "\(signed(mean)) [\(signed(low)), \(signed(high))]"
    }
}
