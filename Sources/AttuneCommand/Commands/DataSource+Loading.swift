import Attune

extension DataSource {
    /// Reads and checks the data, which adapters of the given rank must fit.
    ///
    /// - Throws: `DataError`; ``UsageError`` for a rank above the embeddings' dimension.
    func load(rank: Int, for command: CommandSpecification) throws -> EvaluationData {
        let data =
            switch self {
            case .folder(let path, let embeddings): try EvaluationData(DataFolder(path: path, embeddings: embeddings))
            case .synthetic: try EvaluationData(SyntheticPopulation())
            }
        guard rank <= data.dimension else {
            throw UsageError(
                "'--rank \(rank)' is above the embeddings' dimension \(data.dimension).", command: command.name)
        }
        return data
    }
}
