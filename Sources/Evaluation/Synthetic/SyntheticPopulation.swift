public import TensorCore

/// A made-up population whose true preferences are known: users in clusters, each with a low-rank map of the
/// embeddings.
///
/// Items belong to topics: an item's embedding is its topic's centre plus noise, divided by its length. A cluster is a
/// cycle of `rank` topics; after an item of one topic of the cycle its users want one of the next. With A holding the
/// cycle's centres and B the centres that follow, both shape `[rank, dimension]`, a user's true map is
///
/// ```text
/// M_u = I + s · B_uᵀ·A_u         A_u = A + ε, B_u = B + ε,  ε normal with standard deviation spread / √dimension
/// next like ~ softmax over unseen items of (M_u·x)·e_i / temperature,   x = the last like's embedding
/// ```
///
/// so ranking by M_u·x is optimal and an adapter of the same rank can express it. Without an adapter the next like
/// looks like the last one, which is wrong. From ``Configuration/driftStep`` on a user follows the cycle of the next
/// cluster, and from ``Configuration/returnStep`` on their own again.
///
/// Everything about user u is computed from (seed, u) when asked for, so a million users need no memory. Deterministic:
/// the same numbers on every machine.
public struct SyntheticPopulation: Sendable {
    /// How the population is made.
    public struct Configuration: Sendable, Hashable {
        /// The number of users, 50...1,000,000.
        public var users = 400
        /// The number of clusters, 1...1,000.
        public var clusters = 4
        /// The number of topics; at least ``rank``.
        public var topics = 12
        /// The number of items, at least 100.
        public var items = 600
        /// The number of components of an embedding, 2...4,096.
        public var dimension = 32
        /// The rank of the true maps: the length of a cluster's cycle of topics. At least 2.
        public var rank = 4
        /// The scale s of the true maps' low-rank term; 0 plants no effect.
        public var strength: Float = 2
        /// How far users lie from their cluster's map.
        public var spread: Float = 0.3
        /// The length of the noise around a topic's centre, relative to the centre's.
        public var itemNoise: Float = 0.8
        /// The temperature of choices: lower is more predictable. Above 0.
        public var temperature: Float = 0.15
        /// How many likes users have, drawn uniformly; 6 at least.
        public var likes = 45...61
        /// The number of likes after which users change to the next cluster's map; nil for never.
        public var driftStep: Int?
        /// The number of likes after which users change back, above ``driftStep``; nil for never.
        public var returnStep: Int?
        /// The seed of everything.
        public var seed: UInt64 = 1

        /// The default population.
        public init() {}
    }

    /// How the population is made.
    public let configuration: Configuration
    /// The items' embeddings, unit rows; shape `[items, dimension]`.
    public let vectors: Matrix<Float>
    /// Each item's topic.
    public let topics: [Int]
    /// The topics' centres, unit rows.
    private let centres: [[Float]]
    /// For each cluster, its cycle of topics.
    private let cycles: [[Int]]

    /// The streams of random numbers that do not belong to a user; users have the streams from 2^32 on.
    private enum Stream {
        static let centres: UInt64 = 1
        static let items: UInt64 = 2
        static let cycles: UInt64 = 3
        static func user(_ user: Int) -> UInt64 { 1 << 32 + UInt64(user) }
    }

    /// The positions inside a user's stream where each use begins.
    private enum Position {
        static let map: UInt64 = 0
        static let likes: UInt64 = 1 << 40
        static let signals: UInt64 = 1 << 41
    }

    /// Makes the catalogue and the clusters.
    ///
    /// - Throws: ``DataError`` (`invalidConfiguration`) naming the setting and its range.
    /// - Complexity: O(items · dimension).
    public init(_ configuration: Configuration = Configuration()) throws(DataError) {
        try configuration.validate()
        self.configuration = configuration
        let d = configuration.dimension
        func generator(_ stream: UInt64) -> PhiloxGenerator {
            PhiloxGenerator(seed: configuration.seed, stream: stream, purpose: .simulation)
        }
        var random = generator(Stream.centres)
        let centres = (0..<configuration.topics).map { _ in
            Self.unit((0..<d).map { _ in Float(random.normal()) })
        }
        random = generator(Stream.items)
        var vectors = Matrix<Float>(rows: configuration.items, columns: d)
        var topics: [Int] = []
        let noise = Double(configuration.itemNoise) / Double(d).squareRoot()
        for item in 0..<configuration.items {
            let topic = item % configuration.topics
            topics.append(topic)
            let vector = Self.unit(centres[topic].map { $0 + Float(random.normal(standardDeviation: noise)) })
            vectors.withMutableRow(item) { row in for j in row.indices { row[j] = vector[j] } }
        }
        random = generator(Stream.cycles)
        cycles = (0..<configuration.clusters).map { _ in random.sample(configuration.rank, of: configuration.topics) }
        self.centres = centres
        self.vectors = vectors
        self.topics = topics
    }

    /// The id of a user, by number from 0.
    public static func userID(_ user: Int) -> String { "user-\(user)" }

    /// The cluster whose map a user follows at a step (how many likes lie behind the user).
    public func cluster(of user: Int, step: Int) -> Int {
        let drifted = configuration.driftStep.map { step >= $0 && step < configuration.returnStep ?? .max } ?? false
        return (user + (drifted ? 1 : 0)) % configuration.clusters
    }

    /// The factors of a user's true map at a step: A and B, both `[rank, dimension]`, so that
    /// `M·x = x + strength · Σ_k (A_k·x)·B_k`.
    ///
    /// - Complexity: O(rank · dimension).
    public func factors(of user: Int, step: Int) -> (down: Matrix<Float>, up: Matrix<Float>) {
        let cycle = cycles[cluster(of: user, step: step)]
        var random = generator(user, Position.map)
        let deviation = Double(configuration.spread) / Double(configuration.dimension).squareRoot()
        func matrix(_ topic: (Int) -> Int) -> Matrix<Float> {
            var matrix = Matrix<Float>(rows: cycle.count, columns: configuration.dimension)
            for k in cycle.indices {
                let centre = centres[topic(k)]
                matrix.withMutableRow(k) { row in
                    for j in row.indices { row[j] = centre[j] + Float(random.normal(standardDeviation: deviation)) }
                }
            }
            return matrix
        }
        return (matrix { cycle[$0] }, matrix { cycle[($0 + 1) % cycle.count] })
    }

    /// The truly personalized embedding M_u·x, shape `[dimension]`.
    ///
    /// - Parameters:
    ///   - embedding: The embedding x, shape `[dimension]`.
    ///   - user: The user's number.
    ///   - step: How many likes lie behind the user; matters only with drift.
    public func personalized(_ embedding: [Float], for user: Int, step: Int) -> [Float] {
        precondition(
            embedding.count == configuration.dimension,
            "SyntheticPopulation: \(embedding.count) values for dimension \(configuration.dimension)")
        let (down, up) = factors(of: user, step: step)
        var result = embedding
        for k in 0..<down.rows {
            let weight = configuration.strength * down.withRow(k) { Self.dot($0, embedding) }
            up.withRow(k) { row in for j in row.indices { result[j] += weight * row[j] } }
        }
        return result
    }

    /// The utilities (M_u·x)·e_i / temperature of all items, shape `[items]`; a choice is their softmax over unseen
    /// items.
    public func utilities(of user: Int, step: Int, lastLike: Int) -> [Float] {
        let wanted = personalized(vectors.rowValues(lastLike), for: user, step: step)
        return (0..<configuration.items).map { item in
            vectors.withRow(item) { Self.dot($0, wanted) } / configuration.temperature
        }
    }

    /// A user's likes in order of time, each item once. The first is any item of the user's cycle of topics.
    ///
    /// - Complexity: O(likes · items · dimension).
    public func likes(of user: Int) -> [Int] {
        var random = generator(user, Position.likes)
        let range = configuration.likes
        let count = random.integer(in: range.lowerBound..<(range.upperBound + 1))
        let cycle = cycles[cluster(of: user, step: 0)]
        let home = topics.indices.filter { cycle.contains(topics[$0]) }
        var likes = [home[random.integer(below: home.count)]]
        var seen = [Bool](repeating: false, count: configuration.items)
        seen[likes[0]] = true
        while likes.count < count {
            let utilities = utilities(of: user, step: likes.count, lastLike: likes[likes.count - 1])
            let next = Self.choice(from: utilities, excluding: seen, at: random.uniformDouble())
            seen[next] = true
            likes.append(next)
        }
        return likes
    }

    /// An item drawn from the softmax of utilities over unseen items, by inversion at `position` in 0..<1.
    private static func choice(from utilities: [Float], excluding seen: [Bool], at position: Double) -> Int {
        var largest = -Float.infinity
        for i in utilities.indices where !seen[i] { largest = max(largest, utilities[i]) }
        let weights = utilities.indices.map { seen[$0] ? 0 : Elementary.exp(Double(utilities[$0] - largest)) }
        var remaining = position * weights.reduce(0, +)
        var last = 0
        for i in weights.indices where weights[i] > 0 {
            last = i
            remaining -= weights[i]
            if remaining < 0 { break }
        }
        return last
    }

    /// The generator of a user's numbers for one use, signal `index` of it.
    func generator(_ user: Int, _ position: UInt64) -> PhiloxGenerator {
        PhiloxGenerator(
            seed: configuration.seed, stream: Stream.user(user), purpose: .simulation, position: position)
    }

    /// Where the random numbers of a user's signal at a step begin.
    func signalGenerator(_ user: Int, step: Int) -> PhiloxGenerator {
        generator(user, Position.signals + UInt64(step) << 20)
    }

    private static func unit(_ vector: [Float]) -> [Float] {
        let norm = vector.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
        return vector.map { Float(Double($0) / norm) }
    }

    private static func dot(_ row: Span<Float>, _ vector: [Float]) -> Float {
        var sum: Float = 0
        for j in row.indices { sum += row[j] * vector[j] }
        return sum
    }
}

extension SyntheticPopulation.Configuration {
    /// Checks every setting.
    func validate() throws(DataError) {
        func check(_ holds: Bool, _ message: @autoclosure () -> String) throws(DataError) {
            if !holds { throw DataError(.invalidConfiguration, "synthetic population: " + message()) }
        }
        try check((50...1_000_000).contains(users), "\(users) users are not in 50...1000000")
        try check((1...1_000).contains(clusters), "\(clusters) clusters are not in 1...1000")
        try check((2...4_096).contains(dimension), "dimension \(dimension) is not in 2...4096")
        try check((2...256).contains(rank), "rank \(rank) is not in 2...256")
        try check((rank...10_000).contains(topics), "\(topics) topics are not in \(rank) (the rank)...10000")
        try check((100...1_000_000).contains(items), "\(items) items are not in 100...1000000")
        try check(items >= topics, "\(items) items cannot fill \(topics) topics")
        try check(
            likes.lowerBound >= 6 && likes.upperBound < items,
            "\(likes) likes per user are not in 6..<\(items) (the items)")
        try check(strength.isFinite && abs(strength) <= 1_000, "strength \(strength) is not in -1000...1000")
        try check(spread >= 0 && spread <= 1_000, "spread \(spread) is not in 0...1000")
        try check(itemNoise >= 0 && itemNoise <= 1_000, "item noise \(itemNoise) is not in 0...1000")
        try check(temperature >= 1e-3 && temperature <= 1e6, "temperature \(temperature) is not in 0.001...1000000")
        try check((driftStep ?? 1) >= 1, "drift step \(driftStep ?? 0) is below 1")
        if let returnStep {
            try check(
                returnStep > driftStep ?? .max,
                "the return after \(returnStep) likes does not come after a drift (\(driftStep.map(String.init) ?? "never"))"
            )
        }
    }
}
