import TensorCore

/// What a benchmark found, user by user, as a file: enough to compare two benchmarks of the same users, pair by pair.
///
/// Users stand in it as hashes of their ids; who knows an id can find its numbers.
public struct BenchmarkRecord: Sendable, Hashable {
    /// One method with its settings.
    public struct Run: Sendable, Hashable {
        /// The run's name, unique in the record.
        public var name: String
        /// The settings that were chosen on the donors, by name.
        public var settings: [String: Double]
        /// What it did for each user.
        public var records: UserRecords

        /// A run.
        public init(name: String, settings: [String: Double], records: UserRecords) {
            self.name = name
            self.settings = settings
            self.records = records
        }
    }

    /// The name of the data set, and of its embeddings where it has several.
    public var dataset: String
    /// A hash of the embeddings and of everybody's likes.
    public var dataHash: UInt64
    /// What items were ranked from.
    public var query: QueryKind
    /// How many times learning methods ran.
    public var seeds: Int
    /// The version of Attune.
    public var version: String
    /// The command line that made it.
    public var command: String
    /// Hashes of the users' ids, `[users]`.
    public var users: [UInt64]
    /// The number of ranked events of each user, `[users]`.
    public var events: [Int]
    /// The runs.
    public var runs: [Run]

    /// The run with a name.
    public subscript(name: String) -> Run? { runs.first { $0.name == name } }
}

extension EvaluationResult {
    /// The result as a record.
    ///
    /// - Parameters:
    ///   - version: The version of Attune.
    ///   - command: The command line.
    public func record(version: String, command: String) -> BenchmarkRecord {
        BenchmarkRecord(
            dataset: embeddings.isEmpty ? dataset : "\(dataset), \(embeddings)", dataHash: dataHash,
            query: configuration.query, seeds: configuration.seeds, version: version, command: command,
            users: userHashes, events: eventsPerUser,
            runs: methods.compactMap { method in
                positions[method.name].map { position in
                    var settings = Dictionary(
                        method.settings.map { ($0.name, $0.value) }, uniquingKeysWith: { first, _ in first })
                    settings["kappa"] = method.kappa
                    return BenchmarkRecord.Run(
                        name: method.name, settings: settings, records: records[position])
                }
            })
    }
}

extension EvaluationData {
    /// A hash of the embeddings, the popularity and the likes of donors and evaluated users: what a result depends on.
    public var contentHash: UInt64 {
        var hash = StableHash()
        hash.combine(UInt64(itemCount))
        hash.combine(UInt64(dimension))
        for row in 0..<itemCount {
            vectors.withRow(row) { values in for i in values.indices { hash.combine(UInt64(values[i].bitPattern)) } }
        }
        for value in popularity { hash.combine(UInt64(value.bitPattern)) }
        for group in [donors, users] {
            hash.combine(UInt64(group.count))
            for sequence in group {
                hash.combine(sequence.userID)
                hash.combine(UInt64(sequence.items.count))
                for item in sequence.items { hash.combine(UInt64(item)) }
                for query in sequence.queries { hash.combine(UInt64(query)) }
            }
        }
        if let queryVectors {
            for row in 0..<queryVectors.rows {
                queryVectors.withRow(row) { values in
                    for i in values.indices { hash.combine(UInt64(values[i].bitPattern)) }
                }
            }
        }
        return hash.finalized()
    }
}
