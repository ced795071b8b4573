import Testing

@testable import LoRA

/// Without the loss after it, a step is the same to the byte.
struct LossAfterTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let configuration: UpdateConfiguration
    }

    static var cases: [Case] {
        let optimizers: [Optimizer] = [.sgd, .momentum(), .riemannian(), .adaGrad(), .adam(), .adamW(), .doG()]
        return optimizers.flatMap { optimizer in
            [false, true].flatMap { protects in
                [Float(0), 0.25].map { fading in
                    var configuration = UpdateConfiguration.stated(
                        optimizer: optimizer, fading: PerObjective(all: fading),
                        elasticWeightConsolidation: protects ? ElasticWeightConsolidation.stated() : nil)
                    configuration.learningRates = PerObjective(all: 0.1)
                    return Case(
                        testDescription: "\(optimizer.name)\(protects ? ", protected" : ""), fading \(fading)",
                        configuration: configuration)
                }
            }
        }
    }

    @Test(arguments: cases, [1, 5, 70])
    func theStepIsTheSame(_ item: Case, batch: Int) throws {
        var random = RandomCase(seed: 2_026, batch)
        let shape = try AdapterShape(dimension: 9, rank: 4, hasBias: true)
        let catalogue = try random.catalogue(5, shape.dimension)
        var (one, other) = (try random.adapter(shape), try random.adapter(shape))
        other = one
        let measured = item.configuration
        var bare = item.configuration
        bare.measuresLossAfter = false
        for step in 0..<4 {
            let feedback = (0..<batch).map { _ in
                // Nothing else in it than what a target's fast path takes.
                Feedback(embedding: random.numbers(9), signal: .target(random.numbers(9)), weight: 1)
            }
            let first = try one.update(with: feedback, configuration: measured)
            var second = try other.update(with: feedback, configuration: bare)
            #expect(first.lossAfter.isFinite)
            // Where the loss is all that tells whether the step can stay, it is there.
            #expect(second.lossAfter.isNaN || second.lossAfter == first.lossAfter, "step \(step)")
            let usesFactors = batch == 1 && bare.usesFactors(hasPlainTarget: true)
            let descends = batch <= 64 && bare.optimizer == .sgd && bare.elasticWeightConsolidation == nil
            // A first step with state is measured, as it is tried.
            #expect(second.lossAfter.isNaN == (usesFactors || descends) || step == 0, "step \(step)")
            second.lossAfter = first.lossAfter
            #expect(first == second, "step \(step)")
            #expect(Snapshot(one) == Snapshot(other), "step \(step)")
        }
        let like = random.feedback(.like, catalogue)
        #expect(try one.update(with: [like], configuration: bare).lossAfter.isFinite, "other signals are measured")
    }
}
