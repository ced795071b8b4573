import Foundation
import TensorCore
import TestSupport
import Testing

@testable import LoRA

/// Weighed reads and forks against the formulas written out in Float64, and the bounds that they promise.
struct ExpertsTests {
    static let seed: UInt64 = 0xE57

    private struct Stream {
        var random: RandomCase
        var adapter: LoRAAdapter
        let catalogue: ItemCatalogue
        let configuration: UpdateConfiguration
        var dimension: Int { adapter.shape.dimension }

        init(_ stream: Int, _ audit: SelfAudit?, _ forking: DriftForking?, normalizes: Bool = false) throws {
            random = RandomCase(seed: ExpertsTests.seed, stream)
            let (d, r) = random.pick([(6, 2), (16, 4), (33, 3)])
            let shape = try AdapterShape(dimension: d, rank: r, hasBias: true, normalizesOutput: normalizes)
            adapter = try random.adapter(shape)
            catalogue = try random.catalogue(12, d)
            configuration = .stated(selfAudit: audit, driftForking: forking)
        }

        /// Targets, or choices.
        mutating func batch(_ kind: SignalKind) -> [Feedback] {
            (0..<(1 + random.generator.integer(below: 3))).map { _ in random.feedback(kind, catalogue) }
        }
    }

    /// The loss of a batch under a map, by the library's own objective, whose values have tests of their own.
    private func loss(_ batch: [Feedback], _ adapter: LoRAAdapter, _ configuration: UpdateConfiguration) throws
        -> Double
    {
        var plain = configuration
        plain.selfAudit = nil
        plain.driftForking = nil
        return try adapter.updated(with: batch, configuration: plain).report.lossBefore
    }

    /// The adapter without weights, and the identity with its counts and random numbers.
    private func parts(_ adapter: LoRAAdapter) throws -> (own: LoRAAdapter, identity: LoRAAdapter) {
        var own = adapter
        own.experts = nil
        let identity = LoRAAdapter(
            shape: adapter.shape, identity: adapter.identity, version: adapter.version, steps: adapter.steps,
            parameters: AlignedStorage(count: adapter.shape.parameterCount))
        return (own, identity)
    }

    private func output(_ adapter: LoRAAdapter, _ x: [Float]) throws -> [Double] {
        let (own, _) = try parts(adapter)
        return try own.forward(x).map(Double.init)
    }

    @Test(arguments: [SignalKind.target, .like, .ranking, .preference, .reward], [Float(0), 0.1])
    func theAuditsWeightsAreThoseOfHedge(_ kind: SignalKind, share: Float) throws {
        for number in 0..<6 {
            let audit = SelfAudit(rate: 0.7, prior: 0.8, share: share, range: 1.5)
            var stream = try Stream(number, audit, nil)
            var weight = 0.8
            for _ in 0..<20 {
                let batch = stream.batch(kind)
                let (own, identity) = try parts(stream.adapter)
                let scale = kind == .target ? Double(stream.dimension) : 1
                let difference =
                    scale
                    * (try loss(batch, own, stream.configuration) - loss(batch, identity, stream.configuration))
                let odds = weight / (1 - weight) * exp(-0.7 * max(-1.5, min(1.5, difference)))
                weight = odds / (1 + odds)
                weight = (1 - Double(share)) * weight + Double(share) * 0.8
                _ = try stream.adapter.update(with: batch, configuration: stream.configuration)
                #expect(
                    abs(Double(stream.adapter.readWeights.adapter) - weight) < 1e-5, "\(stream.random.description)")
                let x = stream.random.numbers(stream.dimension)
                let (read, plain) = (try stream.adapter.forward(x), try output(stream.adapter, x))
                for i in x.indices {
                    let expected = weight * plain[i] + (1 - weight) * Double(x[i])
                    #expect(abs(Double(read[i]) - expected) < 1e-4 * max(1, abs(expected)))
                }
            }
        }
    }

    @Test func anAdapterSetAsideIsReadByHowWellItDoesLately() throws {
        for number in 0..<8 {
            let forking = DriftForking(tolerance: 0.01, threshold: 0.5, minimumUpdates: 3, rate: 2, share: 0.1)
            var stream = try Stream(100 + number, nil, forking)
            var aside: LoRAAdapter?
            var weight = 1.0
            var test = (count: 0.0, mean: 0.0, sum: 0.0, lowest: 0.0)
            var forks = 0
            for _ in 0..<40 {
                let batch = stream.batch(.like)
                let (own, identity) = try parts(stream.adapter)
                func excess(_ adapter: LoRAAdapter) throws -> Double {
                    let difference =
                        try loss(batch, adapter, stream.configuration) - loss(batch, identity, stream.configuration)
                    return max(-4, min(4, difference))
                }
                let active = try excess(own)
                var read = active
                if var old = aside {
                    // Its negatives are those of this step.
                    (old.steps, old.version) = (own.steps, own.version)
                    let frozen = try excess(old)
                    read = weight * active + (1 - weight) * frozen
                    let odds = weight / (1 - weight) * exp(-2 * (active - frozen))
                    weight = 0.9 * odds / (1 + odds) + 0.05
                }
                test.count += 1
                test.mean += (read - test.mean) / test.count
                test.sum += read - test.mean - 0.01
                test.lowest = min(test.lowest, test.sum)
                if test.count >= 3, test.sum - test.lowest > 0.5 {
                    test = (0, 0, 0, 0)
                    if aside == nil || weight >= 0.5 {
                        forks += 1
                        aside = own
                        weight = 0.5
                    }
                }
                _ = try stream.adapter.update(with: batch, configuration: stream.configuration)
                #expect(stream.adapter.forks == forks, "\(stream.random.description)")
                let weights = stream.adapter.readWeights
                #expect(abs(Double(weights.adapter) - weight) < 1e-4, "\(stream.random.description)")
                #expect(abs(weights.adapter + weights.setAside - 1) < 1e-6)
                guard let aside else { continue }
                let x = stream.random.numbers(stream.dimension)
                let (mixed, new, old) = (
                    try stream.adapter.forward(x), try output(stream.adapter, x), try output(aside, x)
                )
                for i in x.indices {
                    let expected = weight * new[i] + (1 - weight) * old[i]
                    #expect(abs(Double(mixed[i]) - expected) < 1e-3 * max(1, abs(expected)))
                }
            }
            #expect(forks > 0, "\(stream.random.description)")
        }
    }

    @Test func allReadsAreTheSameToTheBit() throws {
        for (number, normalizes) in [(200, false), (201, true), (202, false)] {
            var stream = try Stream(
                number, SelfAudit(prior: 0.6), DriftForking(tolerance: 0, threshold: 0.001, minimumUpdates: 2),
                normalizes: normalizes)
            for _ in 0..<12 {
                _ = try stream.adapter.update(with: stream.batch(.like), configuration: stream.configuration)
            }
            #expect(stream.adapter.forks > 0 && stream.adapter.readWeights.adapter < 1)
            let rows = stream.random.matrix(5, stream.dimension)
            let together = try stream.adapter.forward(rows)
            for i in 0..<5 {
                let x = rows.withRow(i) { row in row.indices.map { row[$0] } }
                let one = try stream.adapter.forward(x)
                #expect(together.withRow(i) { row in row.indices.map { row[$0] } } == one)
                var lent = stream.adapter
                #expect(try lent.lentForward(x).output == one)
                var into = [Float](repeating: 0, count: stream.dimension)
                var span = into.mutableSpan
                try stream.adapter.forward(x.span, into: &span)
                #expect(into == one)
                if normalizes { #expect(abs(one.reduce(0) { $0 + $1 * $1 } - 1) < 1e-5) }
            }
        }
    }

    /// However the losses come: what was read loses at most what the bound allows.
    @Test func theRegretIsWithinItsBound() throws {
        for number in 0..<40 {
            var random = RandomCase(seed: Self.seed, 300 + number)
            let (rate, prior, range) = (random.pick([0.05, 0.3, 1, 2]), random.pick([0.1, 0.5, 0.9]), 1.0)
            let configuration = UpdateConfiguration.stated(
                selfAudit: SelfAudit(rate: Float(rate), prior: Float(prior), range: Float(range)))
            var experts = Experts(configuration)
            var (read, none, active) = (0.0, 0.0, 0.0)
            let steps = 200
            let drift = random.generator.uniform(in: Float(-0.5)..<0.5)
            for step in 0..<steps {
                // Also against the weights themselves: the one that is trusted more loses.
                let isAdversary = number % 2 == 0
                let sign: Double =
                    isAdversary ? (experts.weights.active > 0.5 ? 1 : -1) : (step / 25 % 2 == 0 ? 1 : -1)
                let base = Double(random.generator.uniformFloat())
                let gap = max(
                    -1, min(1, sign * Double(random.generator.uniformFloat()) + (isAdversary ? 0 : Double(drift))))
                let losses = Experts.Losses(none: base, active: base + gap, frozen: nil)
                read += Double(experts.weights.none) * losses.none + Double(experts.weights.active) * losses.active
                none += losses.none
                active += losses.active
                _ = experts.observe(losses, scale: 1, configuration)
            }
            let spread = rate * Double(steps) * range * range / 8
            let bound = min(none - log(1 - prior) / rate, active - log(prior) / rate) + spread
            #expect(read <= bound + 1e-3, "\(random.description)")
        }
    }

    /// Of two adapters the one that is trusted more always loses: no adapter wins.
    @Test func harmFadesWithAnAdapterSetAsideToo() {
        let configuration = UpdateConfiguration.stated(
            selfAudit: SelfAudit(), driftForking: DriftForking(threshold: 10_000))
        var experts = Experts(configuration)
        experts.change(AlignedStorage(count: 1))
        var read = 0.0
        for _ in 0..<200 {
            let weights = experts.weights
            let trustsActive = weights.active >= weights.frozen
            let (active, frozen) = trustsActive ? (1.5, -1.0) : (-1.0, 1.5)
            read += Double(weights.active) * active + Double(weights.frozen) * frozen
            _ = experts.observe(Experts.Losses(none: 0, active: active, frozen: frozen), scale: 1, configuration)
        }
        #expect(experts.weights.none > 0.99 && read < 5)
    }

    @Test func aHarmfulAdapterFadesAndAHelpfulOneStays() throws {
        for (isHarmful, limit) in [(true, 0.05), (false, 0.95)] {
            let shape = try AdapterShape(dimension: 8, rank: 2)
            var random = RandomCase(seed: Self.seed, 400)
            var adapter = try random.adapter(shape)
            let teacher = adapter
            let configuration = UpdateConfiguration.stated(
                learningRates: PerObjective(all: 1e-4), selfAudit: SelfAudit(prior: 0.5))
            for _ in 0..<60 {
                let x = random.numbers(8)
                let target = isHarmful ? x : try teacher.forward(x)
                _ = try adapter.update(
                    with: [Feedback(embedding: x, signal: .target(target))], configuration: configuration)
            }
            let weight = Double(adapter.readWeights.adapter)
            #expect(isHarmful ? weight < limit : weight > limit)
        }
    }

    @Test func theAdapterLearnsAsWithoutAnAudit() throws {
        var stream = try Stream(500, SelfAudit(), DriftForking(threshold: 0.05, minimumUpdates: 2))
        var plain = stream.adapter
        var configuration = stream.configuration
        (configuration.selfAudit, configuration.driftForking) = (nil, nil)
        for _ in 0..<20 {
            let batch = stream.batch(.like)
            _ = try stream.adapter.update(with: batch, configuration: stream.configuration)
            _ = try plain.update(with: batch, configuration: configuration)
            #expect(stream.adapter.values == plain.values && stream.adapter.version == plain.version)
        }
        #expect(stream.adapter.forks > 0)
        // Switched off, nothing is left of it but the adapter.
        let batch = stream.batch(.like)
        _ = try stream.adapter.update(with: batch, configuration: configuration)
        _ = try plain.update(with: batch, configuration: configuration)
        #expect(stream.adapter.readWeights == (1, 0) && stream.adapter.stateHash == plain.stateHash)
    }

    @Test func refusedFeedbackChangesNothing() throws {
        var stream = try Stream(600, SelfAudit(), DriftForking(threshold: 0.05, minimumUpdates: 2))
        for _ in 0..<8 {
            _ = try stream.adapter.update(with: stream.batch(.like), configuration: stream.configuration)
        }
        let before = stream.adapter.snapshot()
        let d = stream.dimension
        let huge = [Float](repeating: 3e38, count: d)
        for (x, t) in [(huge, huge), ([Float](repeating: .nan, count: d), huge), ([1], huge)] {
            #expect(throws: LoRAError.self) {
                try stream.adapter.update(
                    with: [Feedback(embedding: x, signal: .target(t))], configuration: stream.configuration)
            }
            #expect(stream.adapter.snapshot() == before)
        }
    }

    @Test func aRiseOfTheMeanIsFoundAndNoiseIsNot() {
        var (found, falseAlarms) = (0, 0)
        let settings = DriftForking()
        for number in 0..<200 {
            var random = RandomCase(seed: Self.seed, 700 + number)
            var test = PageHinkley()
            for step in 0..<80 {
                let value = Double(random.generator.uniform(in: Float(-0.5)..<0.5)) + (step >= 40 ? 0.8 : 0)
                guard test.observe(value, settings) else { continue }
                if step < 40 { falseAlarms += 1 } else { found += 1 }
                break
            }
        }
        #expect(falseAlarms <= 4 && found >= 190)
    }

    @Test func anAdapterThatIsNeededIsNotReplaced() {
        let configuration = UpdateConfiguration.stated(driftForking: DriftForking(threshold: 10_000))
        var experts = Experts(configuration)
        experts.change(AlignedStorage(count: 1))
        for _ in 0..<5 {
            _ = experts.observe(Experts.Losses(none: 0, active: 1, frozen: -1), scale: 1, configuration)
        }
        let weights = experts.weights
        #expect(weights.frozen > 0.9)
        experts.change(AlignedStorage(count: 2))
        #expect(experts.weights == weights && experts.forks == 1 && experts.frozen?.count == 1)
    }

    @Test func settingsComeBackFromTheirBytes() throws {
        for (audit, forking) in [
            (SelfAudit(rate: 0.3, prior: 0.2, share: 0.1, range: 7), nil), (nil, DriftForking(threshold: 9)),
            (SelfAudit(), DriftForking(tolerance: 1, minimumUpdates: 77, rate: 4, share: 0.5)),
        ] as [(SelfAudit?, DriftForking?)] {
            let configuration = UpdateConfiguration.stated(selfAudit: audit, driftForking: forking)
            let bytes = configuration.encoded()
            #expect(try UpdateConfiguration(encoded: bytes) == configuration)
            for count in (bytes.count - 40)..<bytes.count where count != UpdateConfiguration.stated().encoded().count {
                #expect(throws: LoRAError.self) { try UpdateConfiguration(encoded: Array(bytes[..<count])) }
            }
            #expect(throws: LoRAError.self) { try UpdateConfiguration(encoded: bytes + [0]) }
        }
        let plain = UpdateConfiguration.stated().encoded()
        #expect(throws: LoRAError.self) { try UpdateConfiguration(encoded: plain + [0, 0]) }
    }
}
