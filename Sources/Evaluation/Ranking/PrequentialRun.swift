import TensorCore

/// One pass of a method over users: rank at each step with what was learned before it, then learn.
///
/// Users go in lockstep: all users (times seeds) of a chunk are ranked at the same step by one matrix product. A chunk
/// is a fixed set of users, so that neither the number of threads nor their order changes a result.
struct PrequentialRun: Sendable {
    let data: EvaluationData
    let users: [LikeSequence]
    /// The evaluation's query; a method may insist on another.
    let query: QueryKind
    /// Weights of the popularity, each giving a table of its own; the learning does not see them.
    let kappas: [Double]
    let seeds: Int
    /// The seed of the negatives.
    let seed: UInt64
    let threads: Int
    /// Whether to compare with the true preferences, where they are known.
    var measuresRegret = false

    /// Rows of one matrix product: large enough for BLAS, small enough that the scores stay in cache.
    private static let rowsPerChunk = 64

    /// What came of a run.
    struct Outcome {
        /// For each κ the table of events, users in the order of ``users``.
        var tables: [EventTable]
        /// The time spent in learning, summed over the tasks; ranking is not in it.
        var learning = Duration.zero
        /// How often something was learned.
        var lessons = 0
    }

    /// Runs a method.
    ///
    /// - Parameter progress: Called after each chunk with the share that is done, 0...1; from any thread, never twice
    ///   at once.
    /// - Returns: For each κ the table of events, users in the order of ``users``.
    /// - Complexity: O(events · seeds · items · dimension); memory O(threads · items · rows) beside the tables.
    func tables(
        of method: any RankingMethod, progress: (Double) -> Void = { _ in }
    ) async throws -> [EventTable] { try await outcome(of: method, progress: progress).tables }

    /// The same, with how long learning took.
    func outcome(
        of method: any RankingMethod, progress: (Double) -> Void = { _ in }
    ) async throws -> Outcome {
        let method = try method.fresh()
        let effectiveSeeds = method.isSeeded ? seeds : 1
        let usersPerChunk = max(1, Self.rowsPerChunk / effectiveSeeds)
        let chunks = stride(from: 0, to: users.count, by: usersPerChunk).map {
            $0..<min($0 + usersPerChunk, users.count)
        }
        let offsets = kappas.map { kappa in data.popularity.map { Float(kappa) * $0 } }
        var whole = Outcome(
            tables: kappas.map { _ in EventTable(eventsPerUser: users.map { $0.items.count - 1 }) })
        let measuresRegret = measuresRegret && data.truth != nil
        if measuresRegret {
            for k in whole.tables.indices {
                whole.tables[k].regret = Array(repeating: 0, count: whole.tables[k].eventCount)
            }
        }
        try await withThrowingTaskGroup(of: (Int, Outcome).self) { group in
            var started = 0
            func startNext() {
                let range = chunks[started]
                let index = started
                started += 1
                group.addTask {
                    var chunk = ChunkRun(
                        run: self, method: method, users: Array(users[range]), seeds: effectiveSeeds, offsets: offsets,
                        measuresRegret: measuresRegret)
                    return (index, try await chunk.outcome())
                }
            }
            while started < min(threads, chunks.count) { startNext() }
            var done = 0
            for try await (index, part) in group {
                for k in whole.tables.indices {
                    whole.tables[k].replace(usersFrom: chunks[index].lowerBound, with: part.tables[k])
                }
                whole.learning += part.learning
                whole.lessons += part.lessons
                done += 1
                progress(Double(done) / Double(chunks.count))
                if started < chunks.count { startNext() }
            }
        }
        return whole
    }
}

extension EventTable {
    /// Overwrites the events of consecutive users by those of a smaller table.
    fileprivate mutating func replace(usersFrom first: Int, with part: EventTable) {
        let start = offsets[first]
        quality.replaceSubrange(start..<(start + part.eventCount), with: part.quality)
        if !part.regret.isEmpty { regret.replaceSubrange(start..<(start + part.eventCount), with: part.regret) }
    }
}

/// The lockstep over one chunk of users, longest sequence first.
private struct ChunkRun {
    let run: PrequentialRun
    let method: any RankingMethod
    let users: [LikeSequence]
    let seeds: Int
    let offsets: [[Float]]
    let measuresRegret: Bool
    /// For each user and seed: the state, seeds of one user side by side.
    private var rankers: [any Ranker] = []
    private var queries: [RunningQuery]
    private var scores: CatalogueScores

    private var data: EvaluationData { run.data }

    init(
        run: PrequentialRun, method: any RankingMethod, users: [LikeSequence], seeds: Int, offsets: [[Float]],
        measuresRegret: Bool
    ) {
        self.run = run
        self.method = method
        self.users = users
        self.seeds = seeds
        self.offsets = offsets
        self.measuresRegret = measuresRegret
        scores = CatalogueScores(vectors: run.data.vectors, rows: users.count * seeds)
        queries = users.map { _ in RunningQuery(method.query ?? run.query, dimension: run.data.dimension) }
    }

    mutating func outcome() async throws -> PrequentialRun.Outcome {
        let clock = ContinuousClock()
        var (learning, lessons) = (Duration.zero, 0)
        var tables = offsets.map { _ in EventTable(eventsPerUser: users.map { $0.items.count - 1 }) }
        if measuresRegret {
            for k in tables.indices { tables[k].regret = Array(repeating: 0, count: tables[k].eventCount) }
        }
        for user in users {
            for seed in 0..<seeds { rankers.append(try method.ranker(for: user.userID, seed: seed)) }
        }
        for step in 0..<((users.first?.items.count ?? 1) - 1) {
            try Task.checkCancellation()
            // Sequences fall in length, so the active users are the first ones.
            let active = users.prefix { $0.items.count > step + 1 }.count
            let current = (0..<active).map { queries[$0].next(of: users[$0], at: step, in: data) }
            for user in 0..<active {
                for seed in 0..<seeds {
                    let ranker = rankers[user * seeds + seed]
                    try ranker.observe(item: users[user].items[step])
                    scores.setVector(try await ranker.vector(for: current[user]), row: user * seeds + seed)
                }
            }
            try scores.compute(rows: active * seeds)
            for user in 0..<active { measure(user, at: step, into: &tables) }
            let start = clock.now
            for user in 0..<active where method.learns && users[user].items.count > step + 2 {
                try await learn(user, at: step, from: current[user])
                lessons += seeds
            }
            learning += clock.now - start
        }
        return PrequentialRun.Outcome(tables: tables, learning: learning, lessons: lessons)
    }

    private func measure(_ user: Int, at step: Int, into tables: inout [EventTable]) {
        let items = users[user].items
        let seen = items[0...step]
        let target = items[step + 1]
        let candidates = data.itemCount - seen.count
        var truth: ChoiceTruth?
        if measuresRegret, let preferences = data.truth {
            truth = ChoiceTruth(
                utilities: preferences.utilities(userID: users[user].userID, step: step + 1, lastLike: items[step]),
                seen: seen)
        }
        for k in offsets.indices {
            var quality = RankingQuality()
            var regret = 0.0
            for seed in 0..<seeds {
                let row = user * seeds + seed
                quality += scores.quality(
                    row: row, offsets: offsets[k], target: target, seen: seen, candidates: candidates)
                if let truth { regret += truth.regret(of: scores.scores(row: row, offsets: offsets[k])) }
            }
            let event = tables[k].offsets[user] + step
            tables[k].quality[event] = quality.divided(by: Double(seeds))
            if measuresRegret { tables[k].regret[event] = regret / Double(seeds) }
        }
    }

    private func learn(_ user: Int, at step: Int, from query: [Float]) async throws {
        let items = users[user].items
        let seen = Array(items[0...step])
        for seed in 0..<seeds {
            let event = LearningEvent(
                query: query, positive: items[step + 1],
                negatives: NegativeSampler.negatives(
                    count: method.negativeCount, items: data.itemCount, positive: items[step + 1], seen: seen,
                    seed: run.seed, replicate: seed, userID: users[user].userID, step: step),
                seen: seen)
            try await rankers[user * seeds + seed].learn(from: event)
        }
    }
}

/// Draws the negatives of an event: the same for every method.
enum NegativeSampler {
    /// `count` items drawn uniformly, with replacement, from those that are neither `positive` nor in `seen`. Named by
    /// (seed, replicate, user, step), so independent of method, order and threads.
    static func negatives(
        count: Int, items: Int, positive: Int, seen: [Int], seed: UInt64, replicate: Int, userID: String, step: Int
    ) -> [Int] {
        var random = PhiloxGenerator(
            seed: seed, stream: ReplicateStream.name(userID: userID, replicate: replicate), purpose: .sampling,
            position: UInt64(step) << 32)
        return (0..<count).map { _ in
            while true {
                let item = random.integer(below: items)
                if item != positive, !seen.contains(item) { return item }
            }
        }
    }
}
