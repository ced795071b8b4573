import LoRA
import Personalization
import TensorCore

/// What donors' cold adapters have learned, and the starts that others are given from it.
///
/// Every donor's adapter is trained once over all of the donor's likes. A start is a merge of products
/// (``LoRA/AdapterPrior``), never of factors. Settings are tuned by evaluating the donors themselves, so donors are dealt
/// into folds, and whoever is a donor gets starts from the other folds only; everyone else gets them from all donors.
struct DonorBank: Sendable {
    /// Where a user is started anew once ``restartLikes`` likes are known.
    enum Company: Hashable, Sendable {
        /// Half the global prior and half the mean of the donors whose profiles are the most similar to the user's.
        case nearest
        /// The same with donors drawn at random: the control, which tells what similarity is worth.
        case random

        /// How many donors.
        var count: Int {
            switch self {
            case .nearest: 30
            case .random: 10
            }
        }
    }

    /// The likes that are known when a user is started anew. Fixed: on donors 3, 4 and 5 differed by at most 0.002 AUC.
    static let restartLikes = 4
    /// The folds of donors.
    static let folds = 5

    /// One donor.
    struct Donor: Sendable {
        let userID: String
        let adapter: LoRAAdapter
        /// The mean of the liked items' embeddings, divided by its length; shape `[dimension]`.
        let profile: [Float]
        let fold: Int
    }

    let donors: [Donor]
    private let foldByUser: [UserKey: Int]
    /// For each fold the merge of all other folds' donors, and at the end that of all donors; `nil` of no donors.
    private let globals: [AdapterPrior?]
    private let seed: UInt64
    private let vectors: Matrix<Float>
    private let starts = StartCache()

    /// - Complexity: One merge of all donors, and one for each fold.
    init(donors: [Donor], vectors: Matrix<Float>, seed: UInt64) throws {
        self.donors = donors
        self.vectors = vectors
        self.seed = seed
        foldByUser = Dictionary(donors.map { (UserKey($0.userID), $0.fold) }, uniquingKeysWith: { first, _ in first })
        globals = try (0...Self.folds).map { fold in
            let others = donors.filter { $0.fold != fold }.map { (adapter: $0.adapter, weight: 1.0) }
            guard let rank = others.first?.adapter.shape.rank else { return nil }
            return try AdapterPrior(merging: others, rank: rank, shrinkage: .none)
        }
    }

    /// Trains an adapter for every donor of a data set and merges them.
    ///
    /// - Parameters:
    ///   - query: The evaluation's query.
    ///   - training: How adapters learn: as `cold` does.
    ///   - progress: Told the share of the donors that is done, 0...1.
    /// - Complexity: O(donors · likes · rank · dimension), in up to `threads` tasks.
    static func trained(
        on data: EvaluationData, query: QueryKind, training: PairwiseAdapter, seed: UInt64, threads: Int,
        progress: (Double) -> Void = { _ in }
    ) async throws -> DonorBank {
        let folds = fold(of: data.donors.map(\.userID), seed: seed)
        let trained = try await withThrowingTaskGroup(of: (Int, Donor).self) { group in
            var donors = [Donor?](repeating: nil, count: data.donors.count)
            var started = 0
            func startNext() {
                let index = started
                started += 1
                group.addTask {
                    let user = data.donors[index]
                    let adapter = try Self.adapter(of: user, in: data, query: query, training: training, seed: seed)
                    let profile = Self.profile(of: user.items, in: data.vectors)
                    return (index, Donor(userID: user.userID, adapter: adapter, profile: profile, fold: folds[index]))
                }
            }
            while started < min(threads, data.donors.count) { startNext() }
            var done = 0
            for try await (index, donor) in group {
                donors[index] = donor
                done += 1
                progress(Double(done) / Double(donors.count))
                if started < donors.count { startNext() }
            }
            return donors.compactMap { $0 }
        }
        return try DonorBank(donors: trained, vectors: data.vectors, seed: seed)
    }

    /// A donor's adapter after one pass over all likes, each transition once.
    private static func adapter(
        of user: LikeSequence, in data: EvaluationData, query: QueryKind, training: PairwiseAdapter, seed: UInt64
    ) throws -> LoRAAdapter {
        try Task.checkCancellation()
        var adapter = try training.start(userID: user.userID, replicate: 0)
        var queries = RunningQuery(query, dimension: data.dimension)
        let scratch = UpdateScratch()
        for step in 0..<(user.items.count - 1) {
            let seen = Array(user.items[0...step])
            let event = LearningEvent(
                query: queries.next(of: user, at: step, in: data), positive: user.items[step + 1],
                negatives: NegativeSampler.negatives(
                    count: PairwiseTraining.negatives, items: data.itemCount, positive: user.items[step + 1],
                    seen: seen, seed: seed, replicate: 0, userID: user.userID, step: step),
                seen: seen)
            try training.learn(&adapter, from: event, scratch: scratch)
        }
        return adapter
    }

    /// Deals users into folds of equal size, in an order that their hashes with the seed decide.
    static func fold(of userIDs: [String], seed: UInt64) -> [Int] {
        func key(_ userID: String) -> UInt64 {
            var hash = StableHash()
            hash.combine("fold")
            hash.combine(seed)
            hash.combine(userID)
            return hash.finalized()
        }
        let order = userIDs.indices.sorted { (key(userIDs[$0]), $0) < (key(userIDs[$1]), $1) }
        var folds = [Int](repeating: 0, count: userIDs.count)
        for (place, index) in order.enumerated() { folds[index] = place % Self.folds }
        return folds
    }

    /// The mean of items' embeddings, divided by its length; zeros where the mean is zero.
    static func profile(of items: [Int], in vectors: Matrix<Float>) -> [Float] {
        var sum = [Float](repeating: 0, count: vectors.columns)
        for item in items { vectors.withRow(item) { row in for j in row.indices { sum[j] += row[j] } } }
        let norm = max(sum.reduce(Float(0)) { $0 + $1 * $1 }.squareRoot(), 1e-12)
        return sum.map { $0 / norm }
    }

    /// The merge of all donors, without the fold of a user who is a donor; `nil` when that leaves none.
    func global(for userID: String) -> AdapterPrior? { globals[foldByUser[UserKey(userID)] ?? Self.folds] }

    /// The start of a user of whom some likes are known: ½ global + ½ mean of the company, truncated to the rank.
    ///
    /// The same for every repetition and rate, so it is merged once for each user and company.
    ///
    /// - Parameter likes: The likes that are known; the same ones whenever a user is asked for.
    /// - Complexity: One merge of ``Company/count`` + 1 adapters the first time.
    func start(_ company: Company, for userID: String, likes: [Int]) throws -> AdapterPrior? {
        let key = StartCache.Key(company: company, user: UserKey(userID))
        if let found = starts[key] { return found }
        guard let global = global(for: userID) else { return nil }
        let chosen = members(of: company, for: userID, likes: likes)
        let shape = donors[0].adapter.shape
        var parts = chosen.map { (adapter: $0.adapter, weight: 0.5 / Double(chosen.count)) }
        parts.append(
            (
                adapter: try LoRAAdapter(
                    shape: shape, identity: AdapterIdentity(seed: 0, stream: 0), startingFrom: global),
                weight: 0.5
            ))
        let prior = try AdapterPrior(merging: parts, rank: shape.rank, normalizing: false, shrinkage: .none)
        starts[key] = prior
        return prior
    }

    /// The donors that a user is put beside; never one of the user's own fold.
    func members(of company: Company, for userID: String, likes: [Int]) -> [Donor] {
        let fold = foldByUser[UserKey(userID)]
        let allowed = donors.filter { $0.fold != fold }
        let count = min(company.count, allowed.count)
        switch company {
        case .nearest:
            let profile = Self.profile(of: likes, in: vectors)
            let similarities = allowed.map { zip($0.profile, profile).reduce(Float(0)) { $0 + $1.0 * $1.1 } }
            return allowed.indices
                .sorted { (-similarities[$0], $0) < (-similarities[$1], $1) }
                .prefix(count)
                .map { allowed[$0] }
        case .random:
            var hash = StableHash()
            hash.combine("random donors")
            hash.combine(userID)
            var random = PhiloxGenerator(seed: seed, stream: hash.finalized(), purpose: .sampling)
            return random.sample(count, of: allowed.count).map { allowed[$0] }
        }
    }
}

/// Starts that were merged before, by user.
private final class StartCache: Sendable {
    struct Key: Hashable, Sendable {
        let company: DonorBank.Company
        let user: UserKey
    }

    private let starts = Lock<[Key: AdapterPrior]>([:])

    subscript(key: Key) -> AdapterPrior? {
        get { starts.withLock { $0[key] } }
        set { starts.withLock { $0[key] = newValue } }
    }
}
