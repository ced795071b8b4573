internal import LoRA
internal import Reasoning

extension ReasoningBankContract {
    func checkRetrieval(_ journal: ContractJournal) async throws {
        try await checkWhatIsRetrieved(journal)
        try await checkFilters(journal)
        try await checkOrder(journal)
        try await checkInvalidQueries(journal)
    }

    private func checkWhatIsRetrieved(_ journal: ContractJournal) async throws {
        let builder = builder
        let resolved = "only resolved episodes are retrieved"
        try await journal.check(resolved) {
            let bank = try await makeBank()
            let query = PatternQuery(context: builder.context(), limit: 100, minimumReward: 0)
            journal.expect("an empty bank retrieves nothing", try await bank.retrievePatterns(query).count, is: 0)
            _ = try await bank.storePattern(builder.episode(user: "ada", gain: nil))
            journal.expect(resolved, try await bank.retrievePatterns(query).count, is: 0)
        }
        let whole = "a pattern tells its episode's user, texts, outcome, loss, action and rank"
        try await journal.check(whole) {
            let bank = try await makeBank()
            var episode = builder.episode(user: "ada", taste: Self.taste(2), learningRate: 0.125, gain: 0.2)
            (episode.input, episode.output, episode.lossAfter) = ("a \u{E9}\n\"'", "b\0", 0.625)
            let id = try await bank.storePattern(episode)
            let found = try await bank.retrievePatterns(
                PatternQuery(context: episode.context, limit: 1, minimumReward: 0))
            journal.expect(whole, found.count, is: 1)
            guard let pattern = found.first else { return }
            journal.expect(whole, pattern.id, is: id)
            journal.expect(whole, pattern.user, is: episode.user)
            journal.expect(whole, Array(pattern.input.utf8), is: Array(episode.input.utf8))
            journal.expect(whole, Array(pattern.output.utf8), is: Array(episode.output.utf8))
            journal.expect(whole, pattern.loss, is: episode.lossAfter)
            journal.expect(whole, pattern.action, is: episode.action)
            journal.expect(whole, pattern.rank, is: episode.context.rank)
            journal.expect(whole, pattern.reward, is: episode.outcome?.reward ?? -1)
            journal.expect(whole, pattern.success, is: episode.outcome?.success ?? false)
            journal.expect(
                "a context is most like itself", abs(pattern.similarity - 1) < 1e-3, "a similarity of 1",
                saw: "\(pattern.similarity)")
            journal.expect("an age is not negative", pattern.age >= 0, "0 or more", saw: "\(pattern.age)")
        }
        let kinds = "only episodes of the query's objective, dimension, rank and model match"
        try await journal.check(kinds) {
            let bank = try await makeBank()
            let own = builder.episode(user: "ada")
            let id = try await bank.storePattern(own)
            for i in 0..<4 {
                var other = builder.episode(user: "other \(i)")
                if i == 0 { other.context.objective = .reward }
                if i == 1 { other.context.dimension += 1 }
                if i == 2 { other.context.rank += 1 }
                if i == 3 { other.context.model += 1 }
                _ = try await bank.storePattern(other)
            }
            let found = try await bank.retrievePatterns(
                PatternQuery(context: own.context, limit: 100, minimumReward: 0))
            journal.expect(kinds, found.map(\.id), is: [id])
        }
    }

    private func checkFilters(_ journal: ContractJournal) async throws {
        let builder = builder
        let promise = "only what the query asks for is retrieved"
        try await journal.check(promise) {
            let bank = try await makeBank()
            // Rewards 0, 0.05, … 0.95; every third a failure whatever its reward.
            for i in 0..<20 {
                _ = try await bank.storePattern(
                    builder.episode(
                        user: "user \(i % 4)", version: UInt64(i / 4 + 1), taste: Self.taste(i % 16),
                        gain: i % 3 == 0 ? -0.1 : 0.1, reward: Double(i) / 20))
            }
            func found(_ change: (inout PatternQuery) -> Void) async throws -> [RetrievedPattern] {
                var query = PatternQuery(context: builder.context(taste: Self.taste(0)), limit: 100, minimumReward: 0)
                change(&query)
                return try await bank.retrievePatterns(query)
            }
            journal.expect(promise, try await found { _ in }.count, is: 20)
            for limit in [1, 7, 20] {
                journal.expect(
                    "no more than the limit is retrieved", try await found { $0.limit = limit }.count, is: limit)
            }
            let rewarded = try await found { $0.minimumReward = 0.5 }
            journal.expect(
                "nothing below the least reward is retrieved",
                rewarded.count == 10 && rewarded.allSatisfy { $0.reward >= 0.5 },
                "the 10 of at least 0.5", saw: "\(rewarded.map(\.reward))")
            let successes = try await found { $0.onlySuccesses = true }
            journal.expect(
                "only successes are retrieved when asked for", successes.count == 13 && successes.allSatisfy(\.success),
                "13 successes", saw: "\(successes.map(\.success))")
            let failures = try await found { $0.onlyFailures = true }
            journal.expect(
                "only failures are retrieved when asked for", failures.count == 7 && !failures.contains { $0.success },
                "7 failures", saw: "\(failures.map(\.success))")
            let excluded = builder.key.digest(of: "user 0")
            let others = try await found { $0.excluding = excluded }
            journal.expect(
                "the excluded user is never retrieved", others.count == 15 && !others.contains { $0.user == excluded },
                "15 of others", saw: "\(others.count), of them \(others.count { $0.user == excluded }) of the user")
        }
    }

    private func checkOrder(_ journal: ContractJournal) async throws {
        let builder = builder
        let order = "the most alike come first, ties by identifier"
        try await journal.check(order) {
            let bank = try await makeBank()
            // Everything but the taste is the same; each taste twice.
            for i in 0..<24 {
                _ = try await bank.storePattern(
                    builder.episode(user: "user \(i)", taste: Self.taste(0, Float((i * 5) % 12) / 4)))
            }
            let query = PatternQuery(context: builder.context(taste: Self.taste(0)), limit: 24, minimumReward: 0)
            let found = try await bank.retrievePatterns(query)
            for (first, second) in zip(found, found.dropFirst()) {
                let isOrdered =
                    first.similarity > second.similarity
                    || (first.similarity == second.similarity && first.id < second.id)
                journal.expect(
                    order, isOrdered, "descending similarity, then ascending identifiers",
                    saw: "\(first.id) (\(first.similarity)) before \(second.id) (\(second.similarity))")
            }
            journal.expect(
                "similarities are in −1...1", found.allSatisfy { abs($0.similarity) <= 1 }, "−1...1",
                saw: "\(found.map(\.similarity))")
            let again = try await bank.retrievePatterns(query)
            // Ages grow meanwhile.
            journal.expect("the same query gives the same answer", again.map(\.id), is: found.map(\.id))
            let few = try await bank.retrievePatterns(
                PatternQuery(context: query.context, limit: 5, minimumReward: 0))
            journal.expect(
                "a lower limit gives the first of a higher one's", few.map(\.id), is: found.prefix(5).map(\.id))
        }
        let variety = "a low relevance gives variety"
        try await journal.check(variety) {
            let bank = try await makeBank()
            for i in 0..<6 {
                _ = try await bank.storePattern(builder.episode(user: "user \(i)", taste: Self.taste(i == 5 ? 8 : 0)))
            }
            let found = try await bank.retrievePatterns(
                PatternQuery(
                    context: builder.context(taste: Self.taste(0)), limit: 2, minimumReward: 0, relevance: 0.2))
            let other = builder.key.digest(of: "user 5")
            journal.expect(variety, Set(found.map(\.id)).count, is: 2)
            journal.expect(
                variety, found.contains { $0.user == other }, "the one that differs among two of six",
                saw: "\(found.map(\.similarity))")
        }
    }

    private func checkInvalidQueries(_ journal: ContractJournal) async throws {
        let promise = "a query that contradicts itself or is out of range is refused as invalidQuery"
        let valid = PatternQuery(context: builder.context())
        let changes: [(String, (inout PatternQuery) -> Void)] = [
            (
                "only successes and only failures",
                {
                    $0.onlySuccesses = true
                    $0.onlyFailures = true
                }
            ),
            ("a limit of 0", { $0.limit = 0 }), ("a limit of −1", { $0.limit = -1 }),
            ("a limit of 10001", { $0.limit = 10_001 }), ("a reward of −0.1", { $0.minimumReward = -0.1 }),
            ("a reward of 1.1", { $0.minimumReward = 1.1 }), ("a reward of NaN", { $0.minimumReward = .nan }),
            ("a relevance of 2", { $0.relevance = 2 }), ("a relevance of NaN", { $0.relevance = .nan }),
        ]
        try await journal.check(promise) {
            let bank = try await makeBank()
            _ = try await bank.storePattern(builder.episode(user: "ada"))
            for (name, change) in changes {
                var query = valid
                change(&query)
                let error = try await journal.failure(promise, of: name) { [query] in
                    try await bank.retrievePatterns(query)
                }
                guard let error else { continue }
                let code = (error as? ReasoningError)?.code
                journal.expect(promise, code == .invalidQuery, "invalidQuery for \(name)", saw: "\(error)")
            }
        }
    }
}
