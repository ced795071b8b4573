extension ConvergenceResult {
    /// One row per variant and measure.
    ///
    /// Columns: `variant`, `method`, `measure`, `mean`, `low`, `high`; and, for what is compared, `reference`, `difference`,
    /// `difference_low`, `difference_high`, `p`, `p_adjusted`, `verdict`. A measure that is not defined has no row.
    public var measuresCSV: String {
        var text =
            "variant,method,measure,mean,low,high,reference,difference,difference_low,difference_high,p,p_adjusted,verdict\n"
        for variant in variants {
            let m = variant.measures
            let all: [(String, Interval?)] = [
                ("auc", m.auc), ("ndcg10", m.ndcg10), ("mrr", m.mrr), ("hit10", m.hit10), ("t90", m.t90),
                ("saving", m.saving), ("area", m.area), ("worse", m.worse), ("regret", m.regret),
            ]
            func drift(_ of: DriftMeasures?) -> [(String, Interval?)] {
                [
                    ("before_drift", of?.before), ("adaptation", of?.adaptation), ("after_return", of?.after),
                    ("forgetting", of?.forgetting),
                ]
            }
            let differences = Dictionary(
                uniqueKeysWithValues: drift(variant.driftDifference).map { ($0.0, $0.1) })
            for (name, value) in all + drift(variant.drift) {
                guard let value else { continue }
                var fields = [variant.name, variant.method.rawValue, name] + value.fields
                if let row = variant.differences.first(where: { $0.measure.rawValue == name }) {
                    fields +=
                        [reference] + row.difference.fields + ["\(row.p)", "\(row.adjusted)", row.verdict.rawValue]
                } else if let difference = differences[name] ?? nil {
                    fields += [reference] + difference.fields + ["", "", ""]
                } else {
                    fields += [String](repeating: "", count: 7)
                }
                text += fields.joined(separator: ",") + "\n"
            }
        }
        return text
    }

    /// One row per candidate: what it did for the donors.
    ///
    /// Columns: `variant`, `method`, `candidate` from 1, `settings`, `kappa`, `auc`, `auc_low`, `auc_high`, `ndcg10`, `ndcg10_low`,
    /// `ndcg10_high`, `chosen` (1 or 0), `failure`.
    public var candidatesCSV: String {
        var text =
            "variant,method,candidate,settings,kappa,auc,auc_low,auc_high,ndcg10,ndcg10_low,ndcg10_high,chosen,failure\n"
        for variant in variants {
            for (place, candidate) in variant.candidates.enumerated() {
                let settings = candidate.settings.map { "\($0.name) \($0.value)" }.joined(separator: "; ")
                var fields = [variant.name, variant.method.rawValue, "\(place + 1)", Self.quoted(settings)]
                fields.append("\(candidate.kappa)")
                for value in [candidate.auc, candidate.ndcg10] { fields += value?.fields ?? ["", "", ""] }
                fields += [candidate.isChosen ? "1" : "0", Self.quoted(candidate.failure ?? "")]
                text += fields.joined(separator: ",") + "\n"
            }
        }
        return text
    }

    /// One row per variant and user: `user`, the hash of the id in hexadecimal; `variant`; `events`; `difference`, the mean AUC
    /// less that with `none`.
    public var usersCSV: String {
        var text = "user,variant,events,difference\n"
        for variant in variants {
            for ((user, events), gain) in zip(zip(userHashes, eventsPerUser), variant.userGains) {
                text += "\(BenchmarkRecord.hex(user)),\(variant.name),\(events),\(gain)\n"
            }
        }
        return text
    }

    /// What depends on the machine: one row per candidate, and one for the evaluation of each variant, whose `candidate` is empty.
    ///
    /// Columns: `variant`, `candidate`, `seconds`, `microseconds_per_update`, `bytes_per_adapter`.
    public var timesCSV: String {
        var text = "variant,candidate,seconds,microseconds_per_update,bytes_per_adapter\n"
        for variant in variants {
            for (place, candidate) in variant.candidates.enumerated() {
                text += "\(variant.name),\(place + 1),\(candidate.duration / .seconds(1)),,\n"
            }
            let update = variant.learningTime.map { "\($0 / .microseconds(1))" } ?? ""
            let bytes = variant.bytesPerAdapter.map(String.init) ?? ""
            text += "\(variant.name),,\(variant.measures.duration / .seconds(1)),\(update),\(bytes)\n"
        }
        return text
    }

    /// A field in quotes where it needs them.
    private static func quoted(_ text: String) -> String {
        guard text.utf8.contains(where: { [0x22, 0x2C, 0x0A, 0x0D].contains($0) }) else { return text }
        return "\"" + text.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\"") + "\""
    }
}

extension Interval {
    fileprivate var fields: [String] { ["\(mean)", "\(low)", "\(high)"] }
}
