import Attune

extension DataSource {
    /// Reads and checks the data, which adapters of the given rank must fit.
    ///
    /// - Parameter rank: `nil` for the engine's default, or the embeddings' dimension where that is lower.
    /// - Returns: The data, and the rank.
    /// - Throws: `DataError`; ``UsageError`` for a rank above the embeddings' dimension.
    func load(rank wanted: Int?, for command: CommandSpecification) throws -> (data: EvaluationData, rank: Int) {
        let data =
            switch self {
            case .folder(let path, let embeddings): try EvaluationData(DataFolder(path: path, embeddings: embeddings))
            case .synthetic(let users, let drift): try EvaluationData(Self.population(users: users, drift: drift))
            }
        let rank = wanted ?? EngineConfiguration(dimension: data.dimension).rank
        guard rank <= data.dimension else {
            throw UsageError(
                "'--rank \(rank)' is above the embeddings' dimension \(data.dimension).", command: command.name)
        }
        return (data, rank)
    }
}

extension DataSource {
    private static func population(users: Int?, drift: Int?) throws -> SyntheticPopulation {
        var configuration = SyntheticPopulation.Configuration()
        if let users { configuration.users = users }
        configuration.driftStep = drift
        configuration.returnStep = drift.map { 2 * $0 }
        return try SyntheticPopulation(configuration)
    }

    /// The words of a command line that name it.
    var words: [String] {
        switch self {
        case .synthetic(let users, let drift):
            ["--synthetic"] + (users.map { ["--users", "\($0)"] } ?? []) + (drift.map { ["--drift", "\($0)"] } ?? [])
        case .folder(let path, let embeddings):
            [quotedForShell(path)] + (embeddings.map { ["--embeddings", quotedForShell($0)] } ?? [])
        }
    }
}

/// A word as a shell takes it: in single quotes where it holds anything but letters, digits and the usual signs of paths.
func quotedForShell(_ word: String) -> String {
    let isPlain = word.utf8.allSatisfy { byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "/"), UInt8(ascii: "."), UInt8(ascii: "_"),
            UInt8(ascii: "-"):
            true
        default: false
        }
    }
    if isPlain, !word.isEmpty { return word }
    return "'" + word.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
}
