import LoRA
import Reasoning
import TensorCore
import Testing

@testable import Reasoning

/// A user's features against the plain formulas, and the buckets of questions.
@Suite(.timeLimit(.minutes(10)))
struct ContextTests {
    private let objective = ObjectiveConfiguration()

    private func vector(_ dimension: Int, _ generator: inout PhiloxGenerator) -> [Float] {
        (0..<dimension).map { _ in Float(generator.normal()) }
    }

    private func projected(_ vector: [Float], _ projection: TasteProjection) -> [Double] {
        let values = vector.span.withBuffer { projection.project($0) }
        return (0..<AdaptationContext.tasteDimension).map { Double(values[$0]) }
    }

    @Test(arguments: [1, 2, 3, 4, 5, 6])
    func featuresAreThoseOfTheFormulas(seed: UInt64) throws {
        var generator = PhiloxGenerator(seed: seed, purpose: .simulation)
        let d = 3 + generator.integer(below: 40)
        let shape = try AdapterShape(dimension: d, rank: 1)
        let projection = TasteProjection(dimension: d)
        var tracker = ContextTracker(seen: 7)
        var rewards: [Double] = []
        var liked: [[Double]] = []
        var losses: [Double] = []
        var noise: Double?
        var lastCosine = 0.0
        var uptime = 100.0
        for _ in 0..<40 {
            var batch: [Feedback] = []
            for _ in 0..<1 + generator.integer(below: 3) {
                let item = vector(d, &generator)
                let x = vector(d, &generator)
                let reward = generator.uniform(in: Float(-1)..<1)
                switch generator.integer(below: 5) {
                case 0:
                    batch.append(Feedback(embedding: x, signal: .target(item)))
                    rewards.append(1)
                    liked.append(projected(item, projection))
                case 1:
                    batch.append(Feedback(embedding: x, signal: .preference(.vector(item), over: [.vector(x)])))
                    rewards.append(1)
                    liked.append(projected(item, projection))
                case 2:
                    batch.append(Feedback(embedding: x, signal: .reward(reward, for: .vector(item))))
                    rewards.append(Double(reward))
                    if reward > 0 { liked.append(projected(item, projection)) }
                case 3:
                    let event = WatchEvent(completion: abs(reward), rating: 3)
                    batch.append(Feedback(embedding: x, signal: .watch(event, of: .vector(item))))
                    let value = event.reward(neutral: 0.5)
                    rewards.append(Double(value))
                    if value > 0 { liked.append(projected(item, projection)) }
                default:
                    batch.append(Feedback(embedding: x, signal: .scaledInput(reward: reward)))
                    rewards.append(Double(reward))
                    if reward > 0 { liked.append(projected(x, projection)) }
                }
            }
            let loss = 1 + Double(generator.uniformFloat())
            losses.append(loss)
            let cosine = generator.integer(below: 4) == 0 ? nil : generator.uniform(in: Float(-1)..<1)
            if let cosine {
                noise = noise.map { $0 + 0.1 * (Double(cosine) - $0) } ?? Double(cosine)
                lastCosine = Double(cosine)
            }
            #expect(tracker.idleSeconds(at: uptime) == (losses.count == 1 ? 0 : 5))
            tracker.observe(
                batch, loss: loss, cosine: cosine, objective: objective, projection: projection, uptime: uptime)
            uptime += 5

            let context = tracker.context(
                objective: .reward, batchSize: batch.count, shape: shape, model: 9, initialization: PriorID(3),
                uptime: uptime)
            func near(_ value: Float, _ expected: Double, _ what: Comment) {
                #expect(abs(Double(value) - expected) < 2e-4, "\(what), seed \(seed): \(value), not \(expected)")
            }
            let n = Double(rewards.count)
            let mean = rewards.reduce(0, +) / n
            #expect(context.seen == 7 + rewards.count && context.batchSize == batch.count)
            near(context.rewardMean, mean, "mean reward")
            near(
                context.rewardVariance, n > 1 ? rewards.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / n : 0, "variance"
            )
            let sum = (0..<AdaptationContext.tasteDimension).map { i in liked.reduce(0.0) { $0 + $1[i] } }
            let norm = sum.reduce(0) { $0 + $1 * $1 }.squareRoot()
            for i in sum.indices { near(context.taste[i], norm > 0 ? sum[i] / norm : 0, "taste") }
            let squares = liked.reduce(0.0) { $0 + $1.reduce(0) { $0 + $1 * $1 } }
            let count = Double(liked.count)
            near(
                context.dispersion, liked.isEmpty ? 0 : 1 - (norm / count) * (norm / count) / (squares / count),
                "dispersion")
            near(context.gradientNoise, noise.map { max(0, min(1, 1 - $0)) } ?? 0, "gradient noise")
            near(context.gradientCosine, lastCosine, "gradient cosine")
            // Page and Hinkley: the highest rise of the cumulated deviations over their lowest course.
            var (rise, lowest) = (0.0, 0.0)
            for i in losses.indices {
                let average = losses[0...i].reduce(0, +) / Double(i + 1)
                rise += (losses[i] - average) / average - 0.005
                lowest = min(lowest, rise)
            }
            near(context.drift, rise - lowest, "drift")
            #expect(context.fault == nil && context.initialization == PriorID(3) && context.model == 9)
        }
    }

    @Test func extremeFeedbackLeavesFiniteFeatures() throws {
        let shape = try AdapterShape(dimension: 4, rank: 1)
        let projection = TasteProjection(dimension: 4)
        var tracker = ContextTracker(seen: 0)
        for value in [Float.greatestFiniteMagnitude, 1e19, -1e19, 1e18, 0, 1e-30] {
            for loss in [0, 1e300, -1, 1e-300] {
                tracker.observe(
                    [Feedback(embedding: [1, 0, 0, 0], signal: .target([value, value, 0, 1]))], loss: loss, cosine: 1,
                    objective: objective, projection: projection, uptime: -5)
                let context = tracker.context(
                    objective: .target, batchSize: 1, shape: shape, model: 0, initialization: nil, uptime: -10)
                #expect(context.fault == nil, "\(value), \(loss)")
                _ = key(tracker)
            }
        }
        // A vector of another length is no taste.
        var other = ContextTracker(seen: 0)
        other.observe(
            [Feedback(embedding: [1], signal: .target([1, 2]))], loss: 1, cosine: nil, objective: objective,
            projection: projection, uptime: 0)
        #expect(!other.hasTaste && other.seen == 1)
    }

    @Test(arguments: [16, 64, 384])
    func theProjectionPreservesAnglesRoughly(dimension: Int) {
        let seed: UInt64 = 4
        var generator = PhiloxGenerator(seed: seed, purpose: .simulation)
        let projection = TasteProjection(dimension: dimension)
        func cosine(_ a: [Double], _ b: [Double]) -> Double {
            func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }
            return dot(a, b) / (dot(a, a) * dot(b, b)).squareRoot()
        }
        var errors: [Double] = []
        var lengths: [Double] = []
        for i in 0..<400 {
            let a = vector(dimension, &generator)
            let mix = Float(i % 20) / 20
            let b = zip(a, vector(dimension, &generator)).map { mix * $0 + (1 - mix) * $1 }
            let before = cosine(a.map(Double.init), b.map(Double.init))
            let (p, q) = (projected(a, projection), projected(b, projection))
            errors.append(cosine(p, q) - before)
            lengths.append(
                p.reduce(0) { $0 + $1 * $1 } / a.reduce(0) { $0 + Double($1) * Double($1) })
        }
        // The deviation of a cosine in 64 dimensions is at most 1/8; up to 64 nothing is lost.
        let bias = errors.reduce(0, +) / 400
        let deviation = (errors.reduce(0) { $0 + $1 * $1 } / 400).squareRoot()
        #expect(
            abs(bias) < 0.03 && deviation < (dimension <= 64 ? 1e-5 : 0.15),
            "seed \(seed): bias \(bias), deviation \(deviation)")
        #expect(abs(lengths.reduce(0, +) / 400 - 1) < 0.15, "seed \(seed)")
        // It is the same for every engine of the dimension.
        let again = TasteProjection(dimension: dimension)
        let probe = vector(dimension, &generator)
        #expect(projected(probe, projection) == projected(probe, again))
    }

    // MARK: - Buckets

    private func key(
        _ tracker: ContextTracker, batchSize: Int = 1, user: UInt64 = 1, rate: Float = 0.25, rank: Int = 1,
        dimension: Int = 4, model: UInt64 = 0, start: PriorID? = nil, kind: ObjectiveKind = .ranking,
        uptime: Double = 0
    ) -> AdviceKey? {
        do throws(LoRAError) {
            return AdviceKey(
                tracker, objective: kind, batchSize: batchSize,
                shape: try AdapterShape(dimension: dimension, rank: rank),
                model: model, initialization: start, learningRate: rate, user: UserDigest(high: 0, low: user),
                uptime: uptime)
        } catch {
            Issue.record(error)
            return nil
        }
    }

    @Test func everyArgumentMakesAnotherQuestion() {
        let tracker = ContextTracker(seen: 0)
        let keys = [
            key(tracker), key(tracker, batchSize: 100), key(tracker, user: 2), key(tracker, rate: 0.5),
            key(tracker, rank: 2), key(tracker, dimension: 5), key(tracker, model: 1),
            key(tracker, start: PriorID(0)), key(tracker, kind: .target), key(ContextTracker(seen: 1000)),
        ]
        #expect(Set(keys).count == keys.count && !keys.contains(nil))
        #expect(key(tracker) == key(ContextTracker(seen: 0)))
    }

    /// Counts fall into buckets that grow fourfold; the idle time into days and months.
    @Test func countsAndTimesAreQuantised() throws {
        let counts = (0..<300).map { key(ContextTracker(seen: $0)) }
        let changes = counts.indices.dropFirst().filter { counts[$0] != counts[$0 - 1] }
        #expect(changes.count <= 6 && changes.count >= 4, "\(changes)")
        // A bucket is never come back to.
        #expect(Set(counts).count == changes.count + 1)
        var tracker = ContextTracker(seen: 0)
        tracker.observe(
            [Feedback(embedding: [1, 0, 0, 0], signal: .scaledInput(reward: 1))], loss: 1, cosine: nil,
            objective: objective, projection: TasteProjection(dimension: 4), uptime: 0)
        let times: [Double] = [0, 3599, 3600, 86_399, 86_400, 2_591_999, 2_592_000, 1e12]
        let keys = times.map { key(tracker, uptime: $0) }
        #expect(Set(keys[...3]).count == 1 && keys[4] == keys[5] && keys[6] == keys[7])
        #expect(Set(keys).count == 3)
    }

    @Test func whatTheUserLikesNowMakesAnotherQuestion() {
        let projection = TasteProjection(dimension: 4)
        func tracker(_ liked: [Float], loss: [Double] = [1]) -> ContextTracker {
            var tracker = ContextTracker(seen: 0)
            for loss in loss {
                tracker.observe(
                    [Feedback(embedding: [1, 0, 0, 0], signal: .target(liked))], loss: loss, cosine: nil,
                    objective: objective, projection: projection, uptime: 0)
            }
            return tracker
        }
        #expect(key(tracker([1, 0, 0, 0])) != key(tracker([-1, 0, 0, 0])))
        #expect(key(tracker([1, 0, 0, 0])) == key(tracker([2, 0, 0, 0])))
        // A loss that rises for long is another situation.
        let calm = tracker([1, 0, 0, 0], loss: [1, 1, 1, 1, 1, 1, 1, 1, 1])
        #expect(key(calm) != key(tracker([1, 0, 0, 0], loss: [1, 1, 1, 9, 9, 9, 9, 9, 9])))
    }
}
