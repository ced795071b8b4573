import TensorCore

/// How far a long run is.
public struct EvaluationProgress: Sendable, Hashable {
    /// What is being done, in words.
    public let stage: String
    /// The share of the whole run that is done, 0...1; never falls.
    public let fraction: Double
}

/// Turns the progress of stages into that of the whole run.
final class ProgressCounter: Sendable {
    private struct State {
        var done = 0.0
        var reported = 0.0
    }

    private let state: Lock<State>
    private let total: Double
    private let handler: @Sendable (EvaluationProgress) -> Void

    /// - Parameter stages: How many stages the run has; a run with fewer ends early, one with more stays at 1.
    init(stages: Int, handler: @escaping @Sendable (EvaluationProgress) -> Void) {
        state = Lock(State())
        total = Double(max(stages, 1))
        self.handler = handler
    }

    /// Runs one stage, which counts as `weight` stages.
    func run<R>(_ stage: String, weight: Double = 1, _ body: ((Double) -> Void) async throws -> R) async throws -> R {
        report(stage, within: 0, weight: weight)
        let result = try await body { self.report(stage, within: $0, weight: weight) }
        state.withLock { $0.done += weight }
        report(stage, within: 0, weight: weight)
        return result
    }

    private func report(_ stage: String, within: Double, weight: Double) {
        let fraction = state.withLock { state in
            state.reported = max(state.reported, min(1, (state.done + within * weight) / total))
            return state.reported
        }
        handler(EvaluationProgress(stage: stage, fraction: fraction))
    }
}
