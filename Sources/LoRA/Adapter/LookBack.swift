internal import TensorCore

/// What a single feedback shows of the step before its own update, which computes what both need.
package struct LookBack {
    /// What it shows under two of three maps. The third, after the step, is the one that the feedback's own update starts from:
    /// the loss that it reports is that map's, so nothing is computed twice.
    package struct Losses: Sendable, Equatable {
        /// The loss without an adapter.
        package var without: Double
        /// The loss before the step.
        package var before: Double

        /// - Parameter loss: The loss before the update with this feedback (``UpdateReport/lossBefore``).
        package func judgement(after loss: Double) -> HeldBatch.Judgement {
            HeldBatch.Judgement(without: without, before: before, after: loss)
        }
    }

    /// Whether a batch can be looked back from: a single feedback in which nothing is chosen.
    package static func isPossible(_ feedback: [Feedback]) -> Bool { feedback.count == 1 && !feedback[0].isChoice }

    private let step: StepTrace
    /// `[dimension]` and `[rank]`.
    private let output: FloatBuffer
    private let hidden: FloatBuffer

    init(on step: StepTrace, output: FloatBuffer, hidden: FloatBuffer) {
        self.step = step
        self.output = output
        self.hidden = hidden
    }

    /// The feedback's losses.
    ///
    /// - Parameters:
    ///   - sample: One for which ``isPossible(_:)``.
    ///   - adapter: The adapter after the step, not yet updated.
    ///   - now: What it answers, before that is normalised, and A·x, where that is known.
    /// - Returns: A failure (`nonFinite`) for numbers beyond the range of Float.
    /// - Complexity: O(rank + dimension) from an answer that is known, after a step of rank 1; else O(rank · dimension). Does not
    ///   allocate.
    func run(
        _ sample: Feedback, _ adapter: LoRAAdapter, _ objective: ObjectiveConfiguration,
        now: (output: FloatBuffer, hidden: FloatBuffer)?
    ) -> Result<Losses, LoRAError> {
        sample.embedding.span.withBuffer { x in
            do throws(LoRAError) {
                let isKnown = now.map { step.forward(adapter.shape, x, now: $0, output: output) } ?? false
                if !isKnown { step.forward(adapter, x, hidden: hidden, output: output) }
                guard Kernels.allFinite(output) else { throw LoRAAdapter.overflow("outcome") }
                let before = try loss(sample, adapter, objective)
                output.copy(from: x)
                if adapter.shape.normalizesOutput { _ = LoRAAdapter.normalize(output) }
                return .success(Losses(without: try loss(sample, adapter, objective), before: before))
            } catch {
                return .failure(error)
            }
        }
    }

    /// The loss of what is in `output`, finite numbers, which it may overwrite.
    private func loss(
        _ sample: Feedback, _ adapter: LoRAAdapter, _ objective: ObjectiveConfiguration
    ) throws(LoRAError) -> Double {
        var evaluator = ObjectiveEvaluator(configuration: objective, identity: adapter.identity, step: adapter.steps)
        // None of these losses takes scratch.
        let value = try evaluator.evaluate(sample, y: output, gradient: nil, scores: hidden, wantsCurvature: false)
        guard value.loss.isFinite else { throw LoRAAdapter.overflow("outcome") }
        return value.loss
    }
}
