internal import TensorCore

// Steps with one feedback that change every parameter by an amount of its own: Adam's, and those under protection.

extension LoRAAdapter {
    /// Adam's step, or a protected one, for a plain target: elementwise, from the factors.
    mutating func elementwiseStep(
        _ step: inout SingleStep, _ configuration: UpdateConfiguration, _ trace: StepTrace?
    ) throws(LoRAError) -> StepOutcome {
        guard let target = step.target else { preconditionFailure("no plain target") }
        let norms = try norms(step.gradient, error: step.errorNorm)
        let factors = norms.factors(configuration.clipping, step.settings.threshold)
        let largest = max(factors.down * norms.down, factors.up * norms.up, factors.bias * norms.bias)
        let isSafe =
            hasState(for: configuration) && isSafe(step, configuration, largest: largest, raw: norms.global)
        // Without state there is memory to be made anyway.
        let previous = isSafe ? nil : self
        let looksAhead = step.looksAhead || previous != nil
        prepareState(configuration)
        // The output after the step comes with it, unless something fades then.
        if let ewc = configuration.elasticWeightConsolidation {
            protectedStep(step, ewc, factors, looksAhead)
        } else {
            adamStep(step, configuration, factors, looksAhead && step.fading == 0)
            if step.fading > 0 {
                fade(step.fading)
                trace?.keep = Float(1 - step.fading)
            }
            if step.fading > 0, looksAhead {
                parameters.withBuffer {
                    _ = Kernels.forward(map($0), step.x, hidden: step.next, scaled: step.next, output: step.after)
                }
            }
        }
        let after = looksAhead ? plainLossAfter(step, target) : .nan
        if let previous { try confirm(after, orRestore: previous) }
        return StepOutcome(
            loss: step.loss, lossAfter: after, norm: norms.global, clipFactor: factors.smallest)
    }

    /// A part of the parameters, with the factors of its gradient, what clipping multiplies that by, and what is wanted of it
    /// when it is written: A gives A·x, B and b then the output.
    private struct Block {
        let range: Range<Int>
        let coefficients: FloatBuffer
        let vector: FloatBuffer
        let factor: Double
        let follower: RowFollower
    }

    /// Calls `body` with A, B and b.
    ///
    /// - Parameter looksAhead: Whether the output after the step is wanted.
    @inline(__always)
    private static func forEachBlock(
        _ shape: AdapterShape, _ step: SingleStep, _ factors: GradientNorms.Factors, looksAhead: Bool,
        _ body: (Block) -> Void
    ) {
        let (next, after) = (step.next, step.after)
        body(
            Block(
                range: shape.downRange, coefficients: step.gradient.back, vector: step.x, factor: factors.down,
                follower: looksAhead ? .dots(into: next) : .nothing))
        if looksAhead { for k in 0..<shape.rank { next[k] = shape.scale * next[k] } }
        body(
            Block(
                range: shape.upRange, coefficients: step.gradient.scaled, vector: step.gradient.error,
                factor: factors.up, follower: looksAhead ? .sum(next, from: step.x, into: after) : .nothing))
        guard shape.hasBias else { return }
        let (one, weight) = (step.work.slice(0..<1), step.work.slice(1..<2))
        one[0] = 1
        weight[0] = 1
        body(
            Block(
                range: shape.biasRange, coefficients: one, vector: step.gradient.error, factor: factors.bias,
                follower: looksAhead ? .sum(weight, from: after, into: after) : .nothing))
    }

    private mutating func protectedStep(
        _ step: SingleStep, _ ewc: ElasticWeightConsolidation, _ factors: GradientNorms.Factors, _ looksAhead: Bool
    ) {
        let pull = Float(step.settings.rate) * step.settings.strength
        let (rate, shape) = (step.settings.rate, shape)
        lendAll { all, own in
            own.protection?.withParts { anchor, fisher, next in
                Self.forEachBlock(shape, step, factors, looksAhead: looksAhead) { block in
                    let range = block.range
                    let c = step.work.slice(2..<(2 + block.coefficients.count))
                    for k in 0..<c.count { c[k] = Float(-rate * block.factor) * block.coefficients[k] }
                    Kernels.protectedRankOne(
                        all.slice(range), anchor: anchor.slice(range), fisher: fisher.slice(range),
                        next: next.slice(range), c, block.coefficients, block.vector, strength: pull,
                        decay: ewc.decay, block.follower)
                }
            }
            own.protection?.accumulated += 1
        }
    }

    private mutating func adamStep(
        _ step: SingleStep, _ configuration: UpdateConfiguration, _ factors: GradientNorms.Factors,
        _ looksAhead: Bool
    ) {
        let (shape, n) = (shape, shape.parameterCount)
        lendAll { all, own in
            guard
                let adam = configuration.optimizer.nextAdam(
                    &own.optimizerState, rate: step.settings.rate, weightDecay: configuration.weightDecay)
            else { preconditionFailure("not Adam") }
            own.optimizerState?.storage.withBuffer { moments in
                let (first, second) = (moments.slice(0..<n), moments.slice(n..<(2 * n)))
                Self.forEachBlock(shape, step, factors, looksAhead: looksAhead) { block in
                    let factor = Float(block.factor)
                    for k in 0..<block.coefficients.count { block.coefficients[k] *= factor }
                    Kernels.adamRankOne(
                        all.slice(block.range), first: first.slice(block.range),
                        second: second.slice(block.range), block.coefficients, block.vector, adam,
                        block.follower)
                }
            }
        }
    }
}
