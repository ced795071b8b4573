internal import TensorCore

/// What an adapter's last step did to it, so that what it would have answered without that step can still be told.
///
/// One feedback changes A and B by a product of two vectors each: those 2·(rank + dimension) numbers are kept. For any other
/// step the parameters before it are, which costs a copy of the adapter.
///
/// `@unchecked Sendable`: written by one update, under the lock of the adapter's owner, and only read afterwards.
package final class StepTrace: @unchecked Sendable {
    /// The parameters before the step, where it was not of rank 1.
    private var previous: AlignedStorage<Float>?
    /// The factor by which B and b faded after the step.
    var keep: Float = 1
    /// a `[rank]`, x `[dimension]`, c `[rank]`, e `[dimension]`: the step added a·xᵀ to A and c·eᵀ to B, stored transposed.
    private var vectors: AlignedStorage<Float>?
    /// The step added this times e to b.
    private(set) var biasRate: Float = 0
    private var rank = 0
    private var dimension = 0

    package init() {}

    /// Begins a step: what was kept of an earlier one is let go.
    ///
    /// - Parameter previous: The parameters before it, where it is not of rank 1.
    func begin(previous: AlignedStorage<Float>?) {
        self.previous = previous
        keep = 1
        if previous != nil { vectors = nil }
    }

    func record(
        down a: FloatBuffer, _ x: FloatBuffer, up c: FloatBuffer, _ e: FloatBuffer, biasRate: Float
    ) {
        rank = a.count
        dimension = x.count
        self.biasRate = biasRate
        var vectors = vectors ?? AlignedStorage(count: 2 * (rank + dimension))
        if vectors.count != 2 * (rank + dimension) { vectors = AlignedStorage(count: 2 * (rank + dimension)) }
        self.vectors = vectors
        vectors.withBuffer { all in
            all.slice(0..<rank).copy(from: a)
            all.slice(rank..<(rank + dimension)).copy(from: x)
            all.slice((rank + dimension)..<(2 * rank + dimension)).copy(from: c)
            all.slice((2 * rank + dimension)..<all.count).copy(from: e)
        }
    }

    private func withVectors<R>(_ body: (_ a: FloatBuffer, _ x: FloatBuffer, _ c: FloatBuffer, _ e: FloatBuffer) -> R)
        -> R?
    {
        guard let vectors else { return nil }
        return vectors.withBuffer { all in
            body(
                all.slice(0..<rank), all.slice(rank..<(rank + dimension)),
                all.slice((rank + dimension)..<(2 * rank + dimension)), all.slice((2 * rank + dimension)..<all.count))
        }
    }

    /// The cosine of this step's gradient with respect to the output and another's; 0 where either is not known.
    package func gradientCosine(with other: StepTrace) -> Float {
        withVectors { _, _, _, e in
            other.withVectors { _, _, _, f in
                guard e.count == f.count else { return 0 }
                let norms = Kernels.squaredNorm(e) * Kernels.squaredNorm(f)
                return norms > 0 && norms.isFinite ? max(-1, min(1, Kernels.dot(e, f) / norms.squareRoot())) : 0
            } ?? 0
        } ?? 0
    }

    /// The bytes held.
    package var byteCount: Int {
        AlignedStorage<Float>.byteCount(for: vectors?.count ?? 0)
            + (previous.map { AlignedStorage<Float>.byteCount(for: $0.count) } ?? 0)
    }

    /// `output ← map(x)` of the adapter as it was before the step. `after` is the adapter since; `hidden` `[rank]` is scratch.
    fileprivate func forward(
        _ after: LoRAAdapter, _ x: FloatBuffer, hidden: FloatBuffer, output: FloatBuffer
    ) {
        let shape = after.shape
        if let previous {
            previous.withBuffer {
                LoRAAdapter.forward(shape, $0, x, hidden: hidden, scaled: hidden, output: output)
            }
        } else {
            after.parameters.withBuffer { all in
                withVectors { a, oldX, c, e in
                    Kernels.rowDots(all.slice(shape.downRange), x, into: hidden)
                    Kernels.axpy(-Kernels.dot(oldX, x), a, to: hidden)
                    Kernels.scale(hidden, by: shape.scale)
                    // Bᵀ·h + b as they are now, divided by what they faded by, less what the step added.
                    output.fill(0)
                    Kernels.addRows(all.slice(shape.upRange), hidden, to: output)
                    if shape.hasBias { Kernels.axpy(1, all.slice(shape.biasRange), to: output) }
                    if keep != 1 {
                        if let start = after.start { subtract(start, share: 1 - keep, hidden, output) }
                        Kernels.scale(output, by: 1 / keep)
                    }
                    Kernels.axpy(-(Kernels.dot(hidden, c) + (shape.hasBias ? biasRate : 0)), e, to: output)
                    Kernels.axpy(1, x, to: output)
                }
            }
        }
        if shape.normalizesOutput { _ = LoRAAdapter.normalize(output) }
    }

    /// Takes out what fading towards a start has put in: `output ← output − share·(B₀ᵀ·hidden + b₀)`.
    private func subtract(_ start: WarmStart, share: Float, _ hidden: FloatBuffer, _ output: FloatBuffer) {
        let shape = start.shape
        start.parameters.withBuffer { values in
            Kernels.scale(hidden, by: -share)
            Kernels.addRows(values.slice(shape.upRange), hidden, to: output)
            Kernels.scale(hidden, by: -1 / share)
            if shape.hasBias { Kernels.axpy(-share, values.slice(shape.biasRange), to: output) }
        }
    }
}

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

    /// What a single feedback shows under two of the maps. The third, after the step, is the one that the feedback's own update
    /// starts from: the loss that it reports is that map's, so nothing is computed twice.
    package struct Preview: Sendable, Equatable {
        /// The loss without an adapter.
        package var without: Double
        /// The loss before the step.
        package var before: Double

        /// - Parameter loss: The loss before the update with this feedback (``UpdateReport/lossBefore``).
        package func judgement(after loss: Double) -> Judgement {
            Judgement(without: without, before: before, after: loss)
        }
    }

    /// Judges a single feedback in which nothing is chosen, as far as its own update will not, in memory that is kept: that
    /// takes less than handing the feedback to somebody else.
    ///
    /// - Returns: `nil` for any other batch.
    /// - Complexity: O(rank · dimension), without allocating.
    package static func preview(
        _ feedback: [Feedback], for adapter: LoRAAdapter, trace: StepTrace, configuration: UpdateConfiguration,
        scratch: UpdateScratch
    ) throws(LoRAError) -> Preview? {
        guard feedback.count == 1, !feedback[0].isChoice else { return nil }
        let sample = feedback[0]
        let shape = adapter.shape
        try sample.validate(for: shape)
        let memory = scratch.judgingMemory(count: shape.dimension + shape.rank)
        var evaluator = ObjectiveEvaluator(
            configuration: configuration.objective, identity: adapter.identity, step: adapter.steps)
        return try memory.withBuffer { all throws(LoRAError) in
            let y = all.slice(0..<shape.dimension)
            let hidden = all.slice(shape.dimension..<(shape.dimension + shape.rank))
            func loss() throws(LoRAError) -> Double {
                guard Kernels.allFinite(y) else { throw LoRAAdapter.overflow("outcome") }
                // None of these losses takes scratch.
                let value = try evaluator.evaluate(
                    sample, y: y, gradient: nil, scores: hidden, wantsCurvature: false)
                guard value.loss.isFinite else { throw LoRAAdapter.overflow("outcome") }
                return value.loss
            }
            sample.embedding.span.withBuffer { trace.forward(adapter, $0, hidden: hidden, output: y) }
            let before = try loss()
            y.copy(from: sample.embedding.span)
            if shape.normalizesOutput { _ = LoRAAdapter.normalize(y) }
            return Preview(without: try loss(), before: before)
        }
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
    fileprivate var isChoice: Bool {
        switch signal {
        case .preference, .ranking, .like: true
        case .target, .scaledInput, .reward, .watch: false
        }
    }
}
