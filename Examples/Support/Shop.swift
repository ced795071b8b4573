public import Attune

/// What the examples on the bank share: a made-up shop whose users come in groups with tastes of their own. Items belong to
/// topics, and who liked an item of one topic wants one of the next; which one that is depends on the group.
public struct Shop: Sendable {
    /// The items' embeddings, one row each, of length 1.
    public let vectors: Matrix<Float>
    /// The same for feedback to refer to.
    public let catalogue: ItemCatalogue
    private let population: SyntheticPopulation

    /// A shop whose user `n` is of group `n % groups`; with `strength` 0 nobody has a taste to learn.
    public init(users: Int = 100, groups: Int = 2, strength: Float = 2) throws {
        var settings = SyntheticPopulation.Configuration()
        settings.users = users
        settings.clusters = groups
        settings.items = 120
        settings.likes = 20...25
        settings.strength = strength
        population = try SyntheticPopulation(settings)
        vectors = population.vectors
        catalogue = try ItemCatalogue(vectors: vectors)
    }

    /// The dimension of the embeddings.
    public var dimension: Int { vectors.columns }

    /// Settings under which a program prints the same on every machine: seeds and keys are given, and the bank has all the
    /// time it needs. A service keeps the default deadline of 50 ms and a secret key of its own.
    public var configuration: EngineConfiguration {
        EngineConfiguration(
            dimension: dimension, rank: 4, embeddingModel: "example", seed: 7,
            reasoning: ReasoningConfiguration(
                deadline: .seconds(60), digestKey: DigestKey(1, 2), sessionID: "example"))
    }

    /// A user's first twenty likes but the very first, as feedback: the query is the like before.
    public func likes(of user: Int) -> [Feedback] {
        let likes = population.likes(of: user)
        return (1..<20).map { step in
            Feedback(
                embedding: vectors.row(likes[step - 1]),
                signal: .like(likes[step], in: catalogue, seen: Array(likes[..<step])))
        }
    }

    /// Lets a user live: each like is ranked first, then learned. With a bank, returns when it has the episodes.
    ///
    /// - Parameter id: The name under which the engine knows the user.
    /// - Returns: The place of each like among all items not seen before, from 1, as the engine ranked it.
    @discardableResult
    public func live(_ user: Int, as id: String, in engine: PersonalizationEngine) async throws -> [Int] {
        let items = population.likes(of: user)
        try await engine.createAdapter(for: id)
        var places: [Int] = []
        for (step, like) in likes(of: user).enumerated() {
            let query = try await engine.personalize(like.embedding, for: id).embedding
            places.append(place(of: items[step + 1], for: query, seen: items[...step]))
            try await engine.updateAdapter(for: id, with: [like])
        }
        // Storing goes on in the background. Waiting for it keeps what the next user is told the same in every run.
        try await engine.flushReasoningBank()
        return places
    }

    /// The same for the queries as they are, without an adapter.
    public func placesWithoutAdapter(of user: Int) -> [Int] {
        let items = population.likes(of: user)
        return (1..<20).map { place(of: items[$0], for: vectors.row(items[$0 - 1]), seen: items[..<$0]) }
    }

    private func place(of item: Int, for query: [Float], seen: ArraySlice<Int>) -> Int {
        func score(_ item: Int) -> Float { zip(vectors.row(item), query).reduce(0) { $0 + $1.0 * $1.1 } }
        let own = score(item)
        return 1 + (0..<vectors.rows).count { !seen.contains($0) && score($0) > own }
    }
}

/// The mean of some places, rounded.
public func mean(_ places: some Collection<Int>) -> Int {
    Int((Double(places.reduce(0, +)) / Double(places.count)).rounded())
}

/// A number with so many digits behind the point.
public func fixed(_ value: some BinaryFloatingPoint, _ digits: Int) -> String {
    let power = (0..<digits).reduce(1) { value, _ in value * 10 }
    let scaled = Int((abs(Double(value)) * Double(power)).rounded())
    let fraction = String(scaled % power)
    return (value < 0 ? "-" : "") + "\(scaled / power)"
        + (digits > 0 ? "." + String(repeating: "0", count: digits - fraction.count) + fraction : "")
}
