import Reasoning
import Testing

/// The error with which a call is refused; an issue when it is not, or with another one.
func refusal(
    sourceLocation: SourceLocation = #_sourceLocation, _ body: () async throws -> Void
) async -> ReasoningError? {
    do {
        try await body()
        Issue.record("nothing was refused", sourceLocation: sourceLocation)
    } catch {
        if let error = error as? ReasoningError { return error }
        Issue.record("another error: \(error)", sourceLocation: sourceLocation)
    }
    return nil
}
