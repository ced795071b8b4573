internal import Reasoning

extension ReasoningBankContract {
    /// What an advice says apart from identifiers, which differ between banks.
    struct AdviceContent: Equatable {
        var hints: AdaptationHints
        var confidence: Double
        var episodes: Int
        var gain: ConfidenceInterval?
        var rateArms: [RateArm]

        init(_ advice: StrategyAdvice) {
            (hints, confidence, episodes) = (advice.hints, advice.confidence, advice.episodes)
            (gain, rateArms) = (advice.gain, advice.rateArms)
        }
    }

    /// Users with episodes at several rates; the higher the rate, the more they gain.
    private func fill(_ bank: any ReasoningBank, users: Range<Int>) async throws {
        for i in users {
            for version in 1...3 {
                _ = try await bank.storePattern(
                    builder.episode(
                        user: "user \(i)", version: UInt64(version), taste: Self.taste(i % 16),
                        learningRate: [0.125, 0.25, 0.5][i % 3],
                        gain: 0.05 * Double(i % 3 + 1) + 0.001 * Double(i + version)))
            }
        }
    }

    func checkAdvice(_ journal: ContractJournal) async throws {
        let builder = builder
        let task = AdaptationTask(context: builder.context(taste: Self.taste(1)), configuredLearningRate: 0.25)
        let none = "without evidence the confidence is 0 and there are no hints"
        try await journal.check(none) {
            let bank = try await makeBank()
            for stage in ["an empty bank", "unresolved episodes alone"] {
                let advice = try await bank.learnStrategy(task)
                journal.expect(
                    none,
                    advice.confidence == 0 && advice.hints.isEmpty && advice.rateArms.isEmpty && advice.gain == nil
                        && advice.episodes == 0 && advice.evidence.isEmpty, "nothing from \(stage)", saw: "\(advice)")
                for i in 0..<20 { _ = try await bank.storePattern(builder.episode(user: "\(i)", gain: nil)) }
            }
        }
        try await journal.check("advice can be followed") {
            let bank = try await makeBank()
            try await fill(bank, users: 0..<40)
            _ = try await bank.storePattern(builder.episode(user: "unresolved", learningRate: 64, gain: nil))
            let advice = try await bank.learnStrategy(task)
            checkSanity(advice, resolved: 120, journal)
            let again = try await bank.learnStrategy(task)
            journal.expect("the same task gives the same advice", again, is: advice)
        }
        try await checkExclusion(task, journal)
    }

    private func checkSanity(_ advice: StrategyAdvice, resolved: Int, _ journal: ContractJournal) {
        let sane = "advice can be followed"
        journal.expect(
            sane, advice.confidence >= 0 && advice.confidence <= 1, "a confidence in 0...1", saw: "\(advice.confidence)"
        )
        journal.expect(
            "advice is drawn from resolved episodes", advice.episodes >= 0 && advice.episodes <= resolved,
            "at most the \(resolved) resolved episodes", saw: "\(advice.episodes)")
        for (name, hint) in [
            ("learning rate", advice.hints.learningRate), ("threshold", advice.hints.clipThreshold),
            ("strength", advice.hints.consolidationStrength),
        ] {
            switch hint {
            case .value(let number)?, .factor(let number)?:
                journal.expect(sane, number.isFinite && number >= 0, "a finite \(name) of at least 0", saw: "\(number)")
            case nil: break
            }
        }
        if let gain = advice.gain {
            journal.expect(
                sane, gain.low <= gain.mean && gain.mean <= gain.high && gain.low.isFinite && gain.high.isFinite,
                "an interval around the mean", saw: "\(gain)")
        }
        guard !advice.rateArms.isEmpty else { return }
        let sum = advice.rateArms.reduce(0) { $0 + $1.probability }
        journal.expect(
            sane,
            abs(sum - 1) < 1e-6
                && advice.rateArms.allSatisfy { $0.probability >= 0 && $0.learningRate > 0 && $0.learningRate.isFinite },
            "rates above 0 with probabilities that sum to 1", saw: "\(advice.rateArms)")
    }

    /// A user with many episodes of an extreme outcome: left out, the advice is that of a bank without them.
    private func checkExclusion(_ task: AdaptationTask, _ journal: ContractJournal) async throws {
        let builder = builder
        let promise = "nothing of the excluded user enters an advice"
        try await journal.check(promise) {
            let (bank, control) = (try await makeBank(), try await makeBank())
            try await fill(bank, users: 0..<15)
            var planted: Set<EpisodeID> = []
            for version in 1...40 {
                planted.insert(
                    try await bank.storePattern(
                        builder.episode(
                            user: "planted", version: UInt64(version), taste: Self.taste(1), learningRate: 1, gain: 0.9)
                    ))
            }
            try await fill(bank, users: 15..<40)
            try await fill(control, users: 0..<15)
            try await fill(control, users: 15..<40)
            var excluding = task
            excluding.excluding = builder.key.digest(of: "planted")
            let advice = try await bank.learnStrategy(excluding)
            let expected = AdviceContent(try await control.learnStrategy(excluding))
            journal.expect(promise, AdviceContent(advice), is: expected)
            journal.expect(
                promise, planted.isDisjoint(with: advice.evidence), "none of the user's episodes as evidence",
                saw: "\(advice.evidence)")
            let all = try await bank.learnStrategy(task)
            journal.expect(
                "the episodes of all others count", all.episodes > advice.episodes,
                "more than \(advice.episodes) episodes",
                saw: "\(all.episodes)")
        }
    }
}
