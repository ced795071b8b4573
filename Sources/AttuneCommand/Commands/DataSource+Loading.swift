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
            case .synthetic: try EvaluationData(SyntheticPopulation())
            }
        let rank = wanted ?? EngineConfiguration(dimension: data.dimension).rank
        guard rank <= data.dimension else {
            throw UsageError(
                "'--rank \(rank)' is above the embeddings' dimension \(data.dimension).", command: command.name)
        }
        return (data, rank)
    }
}
