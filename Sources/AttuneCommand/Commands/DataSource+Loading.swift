import Attune

extension DataSource {
    /// Reads and checks the data.
    ///
    /// - Throws: `DataError`.
    func load() throws -> EvaluationData {
        switch self {
        case .folder(let path, let embeddings):
            try EvaluationData(DataFolder(path: path, embeddings: embeddings))
        case .synthetic:
            try EvaluationData(SyntheticPopulation())
        }
    }
}
