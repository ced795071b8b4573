internal import TensorCore

/// A batch with what three maps make of its embeddings: no adapter, the adapter before its last step, and after it. Judged
/// later, away from the adapter: it shares nothing with it.
package struct HeldBatch: Sendable {
    /// The most feedbacks of a batch that are held; the others do not count.
    package static let limit = 16

    private let feedback: [Feedback]
    private let objective: ObjectiveConfiguration
    private let shape: AdapterShape
    private let identity: AdapterIdentity
    private let step: UInt64
    /// y before and after the step, `[2·n, dimension]`, then room for the work.
    private let memory: AlignedStorage<Float>

    /// What the batch shows under the three maps.
    package struct Judgement: Sendable, Equatable {
        /// The mean loss without an adapter.
        package var without: Double
        /// The mean loss before the step.
        package var before: Double
        /// The mean loss after the step.
        package var after: Double
        /// The mean over the choices in the batch of the share of other items that score below the chosen one, ties counting
        /// half: without an adapter, and after the step; `nil` where nothing was chosen among items.
        package var shareBelow: (without: Double, after: Double)?

        package static func == (left: Judgement, right: Judgement) -> Bool {
            (left.without, left.before, left.after) == (right.without, right.before, right.after)
                && left.shareBelow?.without == right.shareBelow?.without
                && left.shareBelow?.after == right.shareBelow?.after
        }
    }

    /// - Parameters:
    ///   - feedback: The batch that comes next, of the adapter's dimension.
    ///   - adapter: The adapter after the step, not yet updated with that batch.
    ///   - trace: The step.
    ///   - configuration: How the adapter learns.
    /// - Returns: `nil` when the batch cannot be judged: empty, or an embedding of another length.
    /// - Complexity: O(n · rank · dimension), n at most ``limit``.
    package init?(
        _ feedback: [Feedback], for adapter: LoRAAdapter, trace: StepTrace, configuration: UpdateConfiguration
    ) {
        self.init(feedback, adapter, trace, configuration, scratch: nil)
    }

    /// Judges a small batch of one choice at once, in memory that is kept: for a few items that takes less than handing the
    /// batch to somebody else.
    ///
    /// - Returns: `nil` for a batch that is not small, or cannot be judged.
    package static func judgement(
        _ feedback: [Feedback], for adapter: LoRAAdapter, trace: StepTrace, configuration: UpdateConfiguration,
        scratch: UpdateScratch
    ) throws(LoRAError) -> Judgement? {
        guard feedback.count == 1,
            ObjectiveEvaluator.scratchCount(of: feedback[0].signal, configuration.objective) <= smallCount
        else { return nil }
        return try HeldBatch(feedback, adapter, trace, configuration, scratch: scratch)?.judge()
    }

    /// Up to so many items a batch of one is small.
    private static let smallCount = 32

    private init?(
        _ feedback: [Feedback], _ adapter: LoRAAdapter, _ trace: StepTrace, _ configuration: UpdateConfiguration,
        scratch: UpdateScratch?
    ) {
        let shape = adapter.shape
        let held = feedback.count > Self.limit ? Array(feedback.prefix(Self.limit)) : feedback
        guard !held.isEmpty, held.allSatisfy({ $0.embedding.count == shape.dimension }) else { return nil }
        self.feedback = held
        self.shape = shape
        objective = configuration.objective
        identity = adapter.identity
        step = adapter.steps
        let d = shape.dimension
        let work = held.reduce(shape.rank) { sum, sample in
            max(sum, d + ObjectiveEvaluator.scratchCount(of: sample.signal, configuration.objective))
        }
        let count = 2 * held.count * d + work
        let memory = scratch?.judgingMemory(count: count) ?? AlignedStorage<Float>(count: count)
        memory.withBuffer { all in
            let hidden = all.slice((2 * held.count * d)..<(2 * held.count * d + shape.rank))
            for (i, sample) in held.enumerated() {
                sample.embedding.span.withBuffer { x in
                    trace.forward(adapter, x, hidden: hidden, output: all.slice((2 * i * d)..<((2 * i + 1) * d)))
                    _ = adapter.forward(
                        x, hidden: hidden, output: all.slice(((2 * i + 1) * d)..<((2 * i + 2) * d)))
                }
            }
        }
        self.memory = memory
    }

    /// Judges the batch under the three maps, against the same items each time.
    ///
    /// - Throws: ``LoRAError`` for feedback that cannot be learned from, or numbers beyond the range of Float.
    package func judge() throws(LoRAError) -> Judgement {
        for (i, sample) in feedback.enumerated() {
            do throws(LoRAError) { try sample.validate(for: shape) } catch { throw error.at(i) }
        }
        // A single feedback's share is 1, whatever its weight; that spares the most usual batch some memory.
        let shares = feedback.count == 1 ? nil : try Batch.shares(feedback, objective)
        var judgement = Judgement(
            without: try loss(shares, of: nil), before: try loss(shares, of: 0), after: try loss(shares, of: 1))
        if feedback.contains(where: \.isChoice), let without = try shareBelow(shares, of: nil),
            let after = try shareBelow(shares, of: 1)
        {
            judgement.shareBelow = (without, after)
        }
        return judgement
    }

    /// The weighted mean over the batch; a sample without a value does not count.
    private func mean(
        _ shares: [Double]?, of map: Int?,
        _ value: (inout ObjectiveEvaluator, Feedback, FloatBuffer, FloatBuffer) throws(LoRAError) -> Double?
    ) throws(LoRAError) -> Double? {
        var evaluator = ObjectiveEvaluator(configuration: objective, identity: identity, step: step)
        let d = shape.dimension
        let first = 2 * feedback.count * d
        var total = 0.0
        var weight = 0.0
        for (i, sample) in feedback.enumerated() {
            let value = try memory.withBuffer { all throws(LoRAError) in
                // Losses may be formed in the output's place, so they get a copy.
                let y = all.slice(first..<(first + d))
                if let map {
                    y.copy(from: all.slice(((2 * i + map) * d)..<((2 * i + map + 1) * d)))
                } else {
                    y.copy(from: sample.embedding.span)
                    if shape.normalizesOutput { _ = LoRAAdapter.normalize(y) }
                }
                guard Kernels.allFinite(y) else { throw LoRAAdapter.overflow("outcome") }
                return try value(&evaluator, sample, y, all.slice((first + d)..<all.count))
            }
            guard let value else { continue }
            let share = shares?[i] ?? 1
            total += share * value
            weight += share
        }
        guard total.isFinite else { throw LoRAAdapter.overflow("outcome") }
        return weight > 0 ? total / weight : nil
    }

    private func loss(_ shares: [Double]?, of map: Int?) throws(LoRAError) -> Double {
        try mean(shares, of: map) { evaluator, sample, y, scores throws(LoRAError) in
            try evaluator.evaluate(sample, y: y, gradient: nil, scores: scores, wantsCurvature: false).loss
        } ?? 0
    }

    private func shareBelow(_ shares: [Double]?, of map: Int?) throws(LoRAError) -> Double? {
        try mean(shares, of: map) { evaluator, sample, y, scores throws(LoRAError) in
            try evaluator.shareBelow(sample, y: y, scores: scores)
        }
    }
}

extension Feedback {
    /// Whether it says which of several items was chosen.
    var isChoice: Bool {
        switch signal {
        case .preference, .ranking, .like: true
        case .target, .scaledInput, .reward, .watch: false
        }
    }
}
