public import Reasoning

/// What every ``ReasoningBank`` promises, checked on any bank. Needs no test framework:
///
/// ```swift
/// let violations = try await ReasoningBankContract { try await MyBank() }.violations()
/// precondition(violations.isEmpty, "\(violations)")
/// ```
public struct ReasoningBankContract: Sendable {
    let makeBank: @Sendable () async throws -> any ReasoningBank
    let now: @Sendable () -> Timestamp

    /// A suite for banks that a closure makes.
    ///
    /// - Parameters:
    ///   - now: What the banks' clock says; the machine's unless given.
    ///   - makeBank: Makes an empty bank. Called some 40 times.
    public init(
        now: @escaping @Sendable () -> Timestamp = { SystemClock().now },
        makeBank: @escaping @Sendable () async throws -> any ReasoningBank
    ) {
        self.makeBank = makeBank
        self.now = now
    }

    /// Checks every promise.
    ///
    /// - Returns: The promises that were broken, in the order of the checks; empty for a bank that keeps them.
    /// - Throws: What making a bank throws, and `CancellationError`. What a bank throws is a violation.
    public func violations() async throws -> [ContractViolation] {
        _ = try await makeBank()
        let journal = ContractJournal()
        try await checkStoring(journal)
        try await checkRetrieval(journal)
        try await checkAdvice(journal)
        try await checkConsolidation(journal)
        try await checkForgetting(journal)
        try await checkConcurrency(journal)
        return journal.violations
    }

    /// Makes this contract's episodes: a day old, seconds apart.
    var builder: EpisodeBuilder {
        var builder = EpisodeBuilder()
        builder.start = Timestamp(microseconds: now().microseconds - 86_400_000_000)
        return builder
    }

    /// A direction in which one value stands out.
    static func taste(_ index: Int, _ share: Float = 0) -> [Float] {
        (0..<AdaptationContext.tasteDimension).map {
            $0 == index ? 1 : $0 == (index + 1) % AdaptationContext.tasteDimension ? share : 0
        }
    }
}

// MARK: - Storing

extension ReasoningBankContract {
    private func checkStoring(_ journal: ContractJournal) async throws {
        let builder = builder
        let rising = "identifiers rise"
        try await journal.check(rising) {
            let bank = try await makeBank()
            var last: EpisodeID?
            for version in 1...20 {
                let id = try await bank.storePattern(
                    builder.episode(
                        user: "\(version % 3)", version: UInt64(version), gain: version % 2 == 0 ? nil : 0.1))
                if let last { journal.expect(rising, id > last, "more than \(last)", saw: "\(id)") }
                last = id
            }
        }
        let once = "the same (user, version, time) again changes nothing and returns the first identifier"
        try await journal.check(once) {
            let bank = try await makeBank()
            let first = builder.episode(user: "ada", taste: Self.taste(0), gain: 0.3)
            let id = try await bank.storePattern(first)
            _ = try await bank.storePattern(builder.episode(user: "bob"))
            var other = builder.episode(user: "ada", taste: Self.taste(5), gain: -0.3, reward: 0.9)
            other.lossAfter = 77
            let again = try await bank.storePattern(other)
            journal.expect(once, again, is: id)
            let found = try await bank.retrievePatterns(
                PatternQuery(context: builder.context(), limit: 10, minimumReward: 0))
            journal.expect(once, found.count, is: 2)
            journal.expect(once, found.first { $0.id == id }?.loss ?? -1, is: first.lossAfter)
        }
        let together = "episodes that are stored together are those that are stored alone, and each has its own answer"
        try await journal.check(together) {
            let bank = try await makeBank()
            let first = try await bank.storePattern(builder.episode(user: "ada", gain: 0.3))
            var wrong = builder.episode(user: "eve", gain: 0.1)
            wrong.lossBefore = .nan
            let results = await bank.storePatterns([
                builder.episode(user: "bob", gain: 0.1), builder.episode(user: "ada", gain: 0.3), wrong,
                builder.episode(user: "dan", gain: 0.2), builder.episode(user: "bob", gain: 0.1),
            ])
            journal.expect(together, results.count, is: 5)
            guard results.count == 5 else { return }
            let ids = [0, 1, 3, 4].map { place in try? results[place].get() }
            journal.expect(together, ids[1], is: first)
            journal.expect(together, ids[3], is: ids[0])
            journal.expect(
                together, ids[0].map { $0 > first } == true && ids[2].map { $0 > ids[0] ?? $0 } == true,
                "identifiers that rise", saw: "\(ids)")
            var code: ReasoningError.Code?
            if case .failure(let error) = results[2] { code = (error as? ReasoningError)?.code }
            journal.expect(
                together, code == .invalidEpisode, "invalidEpisode for a loss that is none", saw: "\(results[2])")
            let found = try await bank.retrievePatterns(
                PatternQuery(context: builder.context(), limit: 10, minimumReward: 0))
            journal.expect(together, Set(found.map(\.id)), is: Set([first] + ids.compactMap { $0 }))
            journal.expect(together, await bank.storePatterns([]).count, is: 0)
        }
        let another = "the same (user, version) at another time is another episode: of an adapter that began again"
        try await journal.check(another) {
            let bank = try await makeBank()
            let first = builder.episode(user: "ada", gain: 0.3)
            let id = try await bank.storePattern(first)
            var second = first
            second.recordedAt.microseconds += 1
            let other = try await bank.storePattern(second)
            journal.expect(another, other > id, "more than \(id)", saw: "\(other)")
            let found = try await bank.retrievePatterns(
                PatternQuery(context: builder.context(), limit: 10, minimumReward: 0))
            journal.expect(another, found.count, is: 2)
        }
        let refused =
            "an episode with a number that is not finite, or another taste than of 64 values, is refused as invalidEpisode"
        try await journal.check(refused) {
            let bank = try await makeBank()
            for (name, episode) in invalidEpisodes {
                let error = try await journal.failure(refused, of: name) { try await bank.storePattern(episode) }
                guard let error else { continue }
                let code = (error as? ReasoningError)?.code
                journal.expect(refused, code == .invalidEpisode, "invalidEpisode for \(name)", saw: "\(error)")
            }
            let found = try await bank.retrievePatterns(
                PatternQuery(context: builder.context(), limit: 10, minimumReward: 0))
            journal.expect("a refused episode is not stored", found.count, is: 0)
        }
    }

    private var invalidEpisodes: [(String, Episode)] {
        let valid = builder.episode(user: "ada", taste: Self.taste(0))
        let changes: [(String, (inout Episode) -> Void)] = [
            ("a taste of 63 values", { $0.context.taste.removeLast() }),
            ("a taste of 65 values", { $0.context.taste.append(0) }),
            ("an infinite taste", { $0.context.taste[3] = .infinity }),
            ("a mean reward of NaN", { $0.context.rewardMean = .nan }),
            ("a reward variance of NaN", { $0.context.rewardVariance = .nan }),
            ("a dispersion of NaN", { $0.context.dispersion = .nan }),
            ("a gradient noise of NaN", { $0.context.gradientNoise = .nan }),
            ("a gradient cosine of NaN", { $0.context.gradientCosine = .nan }),
            ("an infinite drift", { $0.context.drift = .infinity }),
            ("an infinite idle time", { $0.context.idleSeconds = .infinity }),
            ("a rate of NaN", { $0.action.learningRate = .nan }),
            ("an infinite schedule factor", { $0.action.scheduleFactor = .infinity }),
            ("a clipping threshold of NaN", { $0.action.clipThreshold = .nan }),
            ("a strength of NaN", { $0.action.consolidationStrength = .nan }),
            ("a propensity of NaN", { $0.action.propensity = .nan }),
            ("a loss before of NaN", { $0.lossBefore = .nan }),
            ("an infinite loss after", { $0.lossAfter = .infinity }),
            ("a gain of NaN", { $0.outcome?.gain = .nan }),
            ("an infinite benefit", { $0.outcome?.benefit = -.infinity }),
            ("a reward of NaN", { $0.outcome?.reward = .nan }),
        ]
        return changes.map { name, change in
            var episode = valid
            change(&episode)
            return (name, episode)
        }
    }
}
