internal import TensorCore

/// What an adapter's last step did to it, so that what it would have answered without that step can still be told.
///
/// One feedback changes A and B by a product of two vectors each: those are kept, and what the step did to its own output.
/// For any other step the parameters before it are, which costs a copy of the adapter.
///
/// `@unchecked Sendable`: written by one update, under the lock of the adapter's owner, and only read afterwards.
package final class StepTrace: @unchecked Sendable {
    /// The parameters before the step, where it was not of rank 1.
    private var previous: AlignedStorage<Float>?
    /// The factor by which B and b faded after the step.
    var keep: Float = 1
    /// ``Vectors/x``, of the feedback.
    private var input: [Float] = []
    /// The other ``Vectors``, one after the other.
    private var storage: AlignedStorage<Float>?
    private var rank = 0
    /// The step added this times e to b.
    private var biasRate: Float = 0
    /// The step's change of B added this times e to its own output.
    private var share: Float = 0
    /// ‖x‖² and ‖e‖².
    private var squaredInput: Float = 0
    private var squaredError: Float = 0
    /// Whether `output` holds what ``complete(_:)`` puts there.
    private var isComplete = false
    /// What this step's batch showed of the step before it, where that was asked for.
    package internal(set) var lookBack: Result<LookBack.Losses, LoRAError>?

    /// The step added a·xᵀ to A and c·eᵀ to B, stored transposed.
    struct Vectors {
        /// `[rank]`.
        var a: FloatBuffer
        /// `[dimension]`.
        var x: FloatBuffer
        /// `[rank]`.
        var c: FloatBuffer
        /// `[dimension]`.
        var e: FloatBuffer
        /// The output for x before it is normalised: before the step; then w, the part of its change that comes of A's, which is
        /// ‖x‖²·scale·Bᵀa with B as it is after the step.
        var output: FloatBuffer
    }

    package init() {}

    /// Begins a step: what was kept of an earlier one is let go.
    ///
    /// - Parameter previous: The parameters before it, where it is not of rank 1.
    func begin(previous: AlignedStorage<Float>?) {
        self.previous = previous
        keep = 1
        isComplete = false
        lookBack = nil
        if previous != nil {
            input = []
            storage = nil
        }
    }

    /// Keeps a step.
    ///
    /// - Parameters:
    ///   - input: ``Vectors/x``; the others are ``Vectors/a``, ``Vectors/c``, ``Vectors/e`` and the output before the step.
    func record(
        _ input: [Float], down a: FloatBuffer, up c: FloatBuffer, error e: FloatBuffer, output: FloatBuffer,
        squaredInput: Float, squaredError: Float, biasRate: Float, share: Float
    ) {
        self.input = input
        rank = a.count
        self.squaredInput = squaredInput
        self.squaredError = squaredError
        self.biasRate = biasRate
        self.share = share
        let count = 2 * (rank + input.count)
        if storage?.count != count { storage = AlignedStorage(count: count) }
        withVectors { step in
            step.a.copy(from: a)
            step.c.copy(from: c)
            step.e.copy(from: e)
            step.output.copy(from: output)
        }
    }

    /// Ends a recorded step after which B and b have faded by ``keep`` towards zero, if at all.
    ///
    /// With f = ``keep``, y = x + scale·BᵀAx + b before and y' after, y' − x = f·(y − x + (share + biasRate)·e) + w: w comes of
    /// two outputs that the update forms anyway, where a product with B would be another pass over it. As an output's rounding
    /// errors grow with x, those in w·(x·x')/‖x‖² are in the order of those in the output for x'.
    ///
    /// - Parameter after: The output for x after the step, before it is normalised.
    func complete(_ after: FloatBuffer) {
        guard (1 / squaredInput).isFinite else { return }
        withVectors { step in
            Kernels.blend(step.output, -keep, after, 1)
            if keep != 1 { Kernels.axpy(keep - 1, step.x, to: step.output) }
            Kernels.axpy(-keep * (share + biasRate), step.e, to: step.output)
        }
        isComplete = true
    }

    private func withVectors<R>(_ body: (Vectors) -> R) -> R? {
        guard let storage else { return nil }
        let (r, d, input) = (rank, input.count, input)
        return storage.withBuffer { all in
            let span = input.span
            return span.withBuffer { x in
                body(
                    Vectors(
                        a: all.slice(0..<r), x: x, c: all.slice(r..<(2 * r)), e: all.slice((2 * r)..<(2 * r + d)),
                        output: all.slice((2 * r + d)..<all.count)))
            }
        }
    }

    /// The cosine of this step's gradient with respect to the output and another's; 0 where either is not known.
    package func gradientCosine(with other: StepTrace) -> Float {
        withVectors { mine in
            other.withVectors { others in
                guard mine.e.count == others.e.count else { return 0 }
                let norms = squaredError * other.squaredError
                return norms > 0 && norms.isFinite
                    ? max(-1, min(1, Kernels.dot(mine.e, others.e) / norms.squareRoot())) : 0
            } ?? 0
        } ?? 0
    }

    /// The bytes held.
    package var byteCount: Int {
        AlignedStorage<Float>.byteCount(for: storage?.count ?? 0) + input.count * MemoryLayout<Float>.stride
            + (previous.map { AlignedStorage<Float>.byteCount(for: $0.count) } ?? 0)
    }

    /// `output ← map(x)` of the adapter as it was before the step, from what it answers since; says whether that can be done.
    ///
    /// - Parameters:
    ///   - now: Its output before it is normalised, and A·x, `[rank]`.
    /// - Complexity: O(rank + dimension).
    func forward(
        _ shape: AdapterShape, _ x: FloatBuffer, now: (output: FloatBuffer, hidden: FloatBuffer), output: FloatBuffer
    ) -> Bool {
        guard isComplete else { return false }
        withVectors { step in
            let common = Kernels.dot(step.x, x)
            output.copy(from: now.output)
            if keep != 1 { Kernels.axpy(-1, x, to: output) }
            Kernels.axpy(-common / squaredInput, step.output, to: output)
            if keep != 1 {
                Kernels.scale(output, by: 1 / keep)
                Kernels.axpy(1, x, to: output)
            }
            let hidden = Kernels.dot(now.hidden, step.c) - common * Kernels.dot(step.a, step.c)
            Kernels.axpy(-(shape.scale * hidden + biasRate), step.e, to: output)
        }
        if shape.normalizesOutput { _ = LoRAAdapter.normalize(output) }
        return true
    }

    /// The same from the adapter since, in O(rank · dimension); `hidden` `[rank]` is scratch.
    func forward(_ after: LoRAAdapter, _ x: FloatBuffer, hidden: FloatBuffer, output: FloatBuffer) {
        let shape = after.shape
        if let previous {
            previous.withBuffer {
                _ = Kernels.forward(shape.map($0), x, hidden: hidden, scaled: hidden, output: output)
            }
        } else {
            after.parameters.withBuffer { all in
                withVectors { step in
                    Kernels.rowDots(all.slice(shape.downRange), x, into: hidden)
                    Kernels.axpy(-Kernels.dot(step.x, x), step.a, to: hidden)
                    Kernels.scale(hidden, by: shape.scale)
                    // Bᵀ·h + b as they are now, divided by what they faded by, less what the step added.
                    output.fill(0)
                    Kernels.addRows(all.slice(shape.upRange), hidden, to: output)
                    if shape.hasBias { Kernels.axpy(1, all.slice(shape.biasRange), to: output) }
                    if keep != 1 {
                        if let start = after.start { subtract(start, share: 1 - keep, hidden, output) }
                        Kernels.scale(output, by: 1 / keep)
                    }
                    Kernels.axpy(-(Kernels.dot(hidden, step.c) + biasRate), step.e, to: output)
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
