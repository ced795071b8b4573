import Attune

extension BankDemonstrationResult {
    /// The result for people.
    var text: String {
        var lines = """
            \(teachers) users taught the bank: \(episodes.stored) episodes, \(episodes.resolved) with a known outcome.

            Skills: users alike in taste who are better off with what they learned (share of the items that a
            user's next likes rank above, with the adapter less without)

            """
        var table = TextTable()
        table.add(["", "users", "episodes", "better off", "gain (95 % interval)"])
        for skill in report.created { table.add(["skill \(skill.id)"] + Self.cells(skill.evidence)) }
        lines += table.text
        if report.created.isEmpty { lines += "  none\n" }
        for group in report.refused {
            lines += "  refused: \(printable(group.reason))\n"
        }
        lines += "  A start for users of whom nothing is known: from \(report.populationDonors) users.\n"
        lines += "\nGain of \(newUsers) new users over no adapter (AUC, 95 % interval)\n"
        table = TextTable()
        table.add(["after likes", "without the bank", "with the bank", "difference"])
        for gain in gains { table.add(["\(gain.likes)"] + Self.cells(gain)) }
        table.add(["all"] + Self.cells(overall))
        lines += table.text
        lines += """
              90 % of what is gained in the end without the bank: after \(likesToConverge.without) likes without it, \
            \(likesToConverge.with) with it.

            What it cost (times as this machine took them)

            """
        table = TextTable()
        table.add([
            "a mean update",
            "\(decimal(times.without, digits: 1)) µs without the bank, \(decimal(times.with, digits: 1)) µs with it",
        ])
        let saved = likesToConverge.without - likesToConverge.with
        table.add([
            "likes saved", "\(saved) a user, for \(decimal(times.addedInALife, digits: 0)) µs of computing in all",
        ])
        table.add([
            "repaid in computing",
            times.repaidAfter.map { "after \($0) updates: without the bank as much takes longer" }
                ?? "never: the likes that it saves take less time to learn than the look-ups",
        ])
        table.add([
            "look-ups", "\(decimal(100 * cacheHitRate, digits: 0)) % answered by the cache, the others by the bank",
        ])
        table.add([
            "starts", "\(starts.warm) from what the bank knew, \(starts.again) made again from users nearer in taste",
        ])
        return lines + table.text
    }

    private static func cells(_ evidence: GroupEvidence) -> [String] {
        let gain = Interval(mean: evidence.gain.mean, low: evidence.gain.low, high: evidence.gain.high)
        return [
            "\(evidence.users)", "\(evidence.uses)", "\(decimal(100 * evidence.successRate, digits: 0)) %",
            gain.signedText,
        ]
    }

    private static func cells(_ gain: Gain) -> [String] {
        [gain.without.signedText, gain.with.signedText, gain.difference.signedText]
    }

    /// The result for programs; what depends on the machine is under `measured`.
    var json: JSONText {
        func interval(_ value: Interval) -> JSONText {
            .object([("mean", .number(value.mean)), ("low", .number(value.low)), ("high", .number(value.high))])
        }
        func evidence(_ evidence: GroupEvidence) -> [(String, JSONText)] {
            [
                ("users", .integer(evidence.users)), ("episodes", .integer(evidence.uses)),
                ("success_rate", .number(evidence.successRate)), ("success_low", .number(evidence.wilsonLow)),
                (
                    "gain",
                    interval(Interval(mean: evidence.gain.mean, low: evidence.gain.low, high: evidence.gain.high))
                ),
            ]
        }
        func row(_ gain: Gain) -> [(String, JSONText)] {
            [
                ("users", .integer(gain.users)), ("without", interval(gain.without)), ("with", interval(gain.with)),
                ("difference", interval(gain.difference)),
            ]
        }
        return .object([
            ("users", .integer(demonstration.users)), ("seed", .integer(Int(demonstration.seed))),
            ("teachers", .integer(teachers)), ("new_users", .integer(newUsers)),
            ("episodes", .object([("stored", .integer(episodes.stored)), ("resolved", .integer(episodes.resolved))])),
            (
                "skills",
                .array(
                    report.created.map { skill in
                        .object([("id", .integer(Int(skill.id.value)))] + evidence(skill.evidence))
                    })
            ),
            (
                "refused",
                .array(
                    report.refused.map { group in
                        .object(evidence(group.evidence) + [("reason", .string(group.reason))])
                    })
            ),
            ("population_donors", .integer(report.populationDonors)),
            ("gains", .array(gains.map { gain in .object([("likes", .integer(gain.likes))] + row(gain)) })),
            ("overall", .object(row(overall))),
            (
                "likes_to_converge",
                .object([
                    ("without", .integer(likesToConverge.without)), ("with", .integer(likesToConverge.with)),
                ])
            ),
            ("cache_hit_rate", .number(cacheHitRate)),
            ("starts", .object([("warm", .integer(starts.warm)), ("again", .integer(starts.again))])),
            (
                "measured",
                .object([
                    ("update_microseconds_without", .number(times.without)),
                    ("update_microseconds_with", .number(times.with)),
                    ("added_microseconds_a_user", .number(times.addedInALife)),
                    ("repaid_after_updates", times.repaidAfter.map { .integer($0) } ?? .null),
                ])
            ),
        ])
    }
}
