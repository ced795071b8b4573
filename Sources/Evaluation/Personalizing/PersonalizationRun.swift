public import LoRA
public import Personalization
internal import TensorCore

/// The main job: streams every like of a data set, in order of time, through an engine, and measures what the adapters
/// changed.
///
/// At each like but a user's first, the query (made from the likes before it) is personalized; then the user's adapter is
/// updated with the like. So every ranking is of an item that the adapter had not seen, next to that of the query as it is.
public struct PersonalizationRun: Sendable {
    /// The data set.
    public let data: EvaluationData
    /// What the query is made from.
    public let query: QueryKind
    /// The weight κ of log(1 + donor likes) beside the plain query: the best on donors, so that the comparison is fair.
    public let plainPopularityWeight: Double
    /// The same beside personalized queries, and in what the engine learns from.
    public let popularityWeight: Double
    /// The tasks that users are spread over. Neither adapters nor figures (but for times) depend on it.
    public var threads: Int

    private let catalogue: ItemCatalogue

    /// A run over a data set; tunes the plain query's popularity weight on the donors.
    ///
    /// - Throws: ``DataError`` (`invalidConfiguration`) for a number of threads outside 1...64; `CancellationError`.
    public init(
        _ data: EvaluationData, query: QueryKind,
        popularityWeight: Double = Double(ItemCatalogue.defaultPopularityWeight), threads: Int = 2
    ) async throws {
        guard (1...64).contains(threads) else {
            throw DataError(.invalidConfiguration, "\(threads) threads are not in 1...64")
        }
        guard data.queryVectors == nil else {
            throw DataError(
                .missingFile, file: InteractionsFile.name,
                "the folder has none: likes of \(InteractionsFile.queriesName) are evaluated and not streamed")
        }
        var configuration = EvaluationConfiguration()
        configuration.query = query
        configuration.threads = threads
        let tuner = Tuner(
            data: data, configuration: configuration, progress: ProgressCounter(stages: 1, handler: { _ in }))
        plainPopularityWeight = try await tuner.choice(of: IdentityMethod(query: nil), Trial("popularity")).kappa
        self.data = data
        self.query = query
        self.popularityWeight = popularityWeight
        self.threads = threads
        catalogue = try ItemCatalogue(
            vectors: data.vectors, offsets: data.popularity.map { Float(popularityWeight) * $0 })
    }

    /// Streams the likes through an engine.
    ///
    /// - Parameters:
    ///   - engine: Of the data's dimension; it keeps the adapters.
    ///   - progress: Told how far the run is; called from any thread, one call at a time.
    /// - Throws: ``EngineError``; `CancellationError`.
    /// - Complexity: O(likes · items · dimension).
    public func run(
        _ engine: PersonalizationEngine, progress: @escaping @Sendable (EvaluationProgress) -> Void = { _ in }
    ) async throws -> PersonalizationSummary {
        let clock = ContinuousClock()
        let start = clock.now
        let counter = EventCounter(total: data.stream.count, handler: progress)
        var parts: [Part] = []
        try await withThrowingTaskGroup(of: Part.self) { group in
            for task in 0..<threads {
                group.addTask {
                    try await part(task, engine, counter)
                }
            }
            for try await part in group { parts.append(part) }
        }
        parts.sort { $0.task < $1.task }
        return PersonalizationSummary(
            data: data, engine: engine, run: self, parts: parts, duration: clock.now - start)
    }

    /// What one task learned of its users.
    struct Part: Sendable {
        let task: Int
        var updates = 0
        /// Likes that the engine's journal had already.
        var known = 0
        /// Likes of users whom the engine's journal was told to forget.
        var forgotten = 0
        var lossBefore = 0.0
        var lossAfter = 0.0
        var updateTime = Duration.zero
        /// For each of the task's users with an event: sums over events.
        var users: [UserSums] = []
    }

    struct UserSums: Sendable {
        var events = 0
        var plain = RankingQuality()
        var personalized = RankingQuality()
    }

    /// The users whose index modulo the number of tasks is `task`.
    private func part(_ task: Int, _ engine: PersonalizationEngine, _ counter: EventCounter) async throws -> Part {
        var part = Part(task: task)
        var seen = [[Int]](repeating: [], count: data.userIDs.count)
        var profiles = QueryProfiles(users: data.userIDs.count, dimension: data.dimension)
        var sums = [UserSums](repeating: UserSums(), count: data.userIDs.count)
        var ranking = PendingRankings(
            catalogue: catalogue, plainOffsets: data.popularity.map { Float(plainPopularityWeight) * $0 })
        let clock = ContinuousClock()
        let keepsIDs = engine.configuration.durability ?? .none != .none
        for (i, event) in data.stream.enumerated() {
            if i % 1024 == 0 { try Task.checkCancellation() }
            guard event.user % threads == task else { continue }
            let user = data.userIDs[event.user]
            if let last = seen[event.user].last {
                let x = query == .last ? data.vectors.row(last) : profiles.unit(of: event.user)
                let y = try await engine.personalize(x, for: user).embedding
                var isKnown = false
                // Where everything else is liked already, a like teaches nothing.
                if seen[event.user].count < catalogue.count - 1 {
                    let signal = Feedback.Signal.like(event.item, in: catalogue, seen: seen[event.user])
                    // A journal keeps the item's number in place of its embedding.
                    let feedback =
                        query == .last
                        ? Feedback(of: last, in: catalogue, signal: signal) : Feedback(embedding: x, signal: signal)
                    let id = keepsIDs ? data.id(of: event) : nil
                    let start = clock.now
                    do {
                        let update = try await engine.updateAdapter(for: user, with: [feedback], id: id)
                        isKnown = update.samples == 0
                        if isKnown {
                            part.known += 1
                        } else {
                            part.updateTime += clock.now - start
                            part.updates += 1
                            part.lossBefore += update.lossBefore
                            part.lossAfter += update.lossAfter
                        }
                    } catch let error as EngineError where error.code == .forgottenUser {
                        // Nothing of theirs is learned or ranked; the others' likes are.
                        part.forgotten += 1
                        isKnown = true
                    }
                }
                if isKnown {
                    // The adapter has seen it, or may not: ranking it would say nothing.
                    counter.add(1)
                } else {
                    ranking.add(plain: x, personalized: y, target: event.item, seen: seen[event.user], user: event.user)
                }
                if ranking.isFull {
                    counter.add(ranking.count)
                    try ranking.measure(into: &sums)
                }
            }
            seen[event.user].append(event.item)
            if query == .profile { data.vectors.withRow(event.item) { profiles.add($0, to: event.user) } }
        }
        counter.add(ranking.count)
        try ranking.measure(into: &sums)
        part.users = sums.filter { $0.events > 0 }
        return part
    }
}

extension EvaluationData {
    /// The name of a like: a hash of user, item, time and occurrence. A user's like of an item occurs once here: later ones are
    /// left out.
    func id(of event: LikeEvent) -> FeedbackID {
        FeedbackID("\(userIDs[event.user])\u{0}\(itemNames[event.item])\u{0}\(event.timestamp)\u{0}0")
    }
}

/// Each user's exponential average of likes, as ``QueryKind/profile`` has it.
private struct QueryProfiles {
    private var averages: [[Float]]

    init(users: Int, dimension: Int) {
        averages = Array(repeating: Array(repeating: 0, count: dimension), count: users)
    }

    mutating func add(_ like: Span<Float>, to user: Int) {
        let keep = RunningQuery.profileDecay
        for j in like.indices { averages[user][j] = keep * averages[user][j] + (1 - keep) * like[j] }
    }

    func unit(of user: Int) -> [Float] {
        var squares: Float = 0
        for value in averages[user] { squares += value * value }
        let norm = max(squares.squareRoot(), 1e-12)
        return averages[user].map { $0 / norm }
    }
}

/// Rankings that wait for one matrix product: a ranking does not change what is learned, so it need not be made at once.
private struct PendingRankings {
    private struct Event {
        let target: Int
        let seen: [Int]
        let user: Int
    }

    private static let capacity = 64
    private let offsets: [Float]
    private let plainOffsets: [Float]
    private let items: Int
    private var scores: CatalogueScores
    private var events: [Event] = []

    init(catalogue: ItemCatalogue, plainOffsets: [Float]) {
        self.plainOffsets = plainOffsets
        offsets = catalogue.offsets.array
        items = catalogue.count
        scores = CatalogueScores(vectors: catalogue.vectors, rows: 2 * Self.capacity)
    }

    var count: Int { events.count }
    var isFull: Bool { events.count == Self.capacity }

    mutating func add(plain: [Float], personalized: [Float], target: Int, seen: [Int], user: Int) {
        scores.setVector(plain, row: 2 * events.count)
        scores.setVector(personalized, row: 2 * events.count + 1)
        events.append(Event(target: target, seen: seen, user: user))
    }

    mutating func measure(into sums: inout [PersonalizationRun.UserSums]) throws {
        try scores.compute(rows: 2 * events.count)
        for (k, event) in events.enumerated() {
            let candidates = items - event.seen.count
            // The only candidate left is no ranking.
            guard candidates > 1 else { continue }
            func quality(_ row: Int, _ offsets: [Float]) -> RankingQuality {
                scores.quality(
                    row: row, offsets: offsets, target: event.target, seen: event.seen[...], candidates: candidates)
            }
            sums[event.user].events += 1
            sums[event.user].plain += quality(2 * k, plainOffsets)
            sums[event.user].personalized += quality(2 * k + 1, offsets)
        }
        events.removeAll(keepingCapacity: true)
    }
}

/// Counts the events of all tasks; tells of them one at a time.
private final class EventCounter: Sendable {
    private let done = Lock(0)
    private let total: Int
    private let handler: @Sendable (EvaluationProgress) -> Void

    init(total: Int, handler: @escaping @Sendable (EvaluationProgress) -> Void) {
        self.total = max(total, 1)
        self.handler = handler
    }

    func add(_ events: Int) {
        done.withLock { done in
            done += events
            handler(EvaluationProgress(stage: "personalizing", fraction: min(1, Double(done) / Double(total))))
        }
    }
}
