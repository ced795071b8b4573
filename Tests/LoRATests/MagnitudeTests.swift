import TensorCore
import Testing

@testable import LoRA

/// Steps with one feedback are written without a way back where bounds of the magnitudes tell that nothing can fail. Where
/// they don't, a step is tried, and undone when it leaves the range of Float.
struct MagnitudeTests {
    struct Setting: Sendable, CustomTestStringConvertible {
        let optimizer: Optimizer
        var protects = false

        var testDescription: String { optimizer.name + (protects ? ", protected" : "") }

        static let all = [
            Setting(optimizer: .sgd), Setting(optimizer: .riemannian()), Setting(optimizer: .adam()),
            Setting(optimizer: .adamW()), Setting(optimizer: .sgd, protects: true),
        ]

        func configuration(rate: Float = 0.1, threshold: Float = 1) -> UpdateConfiguration {
            .stated(
                optimizer: optimizer, learningRates: PerObjective(all: rate), clipping: .perMatrix,
                clipThresholds: PerObjective(all: threshold),
                elasticWeightConsolidation: protects ? .stated(strength: 1) : nil)
        }
    }

    static let dimension = 21

    /// An adapter whose A holds `large` where embeddings are zero, so that no output feels it.
    static func adapter(_ large: Float) throws -> LoRAAdapter {
        var random = RandomCase(seed: 12, 1)
        let shape = try AdapterShape(dimension: dimension, rank: 3, hasBias: true)
        let plain = try random.adapter(shape)
        var down = plain.down
        for row in 0..<3 { down[row, 0] = large }
        return try LoRAAdapter(
            shape: shape, identity: plain.identity, down: down, up: plain.up, bias: plain.bias)
    }

    static func feedback(_ number: Int, size: Float = 1) -> [Feedback] {
        var random = RandomCase(seed: 12, 10 + number)
        var embedding = random.numbers(dimension).map { size * $0 }
        embedding[0] = 0
        return [Feedback(embedding: embedding, signal: .target(random.numbers(dimension)))]
    }

    /// 1e20 is beyond what the bounds vouch for, and harmless here: the same step as from 1e2, which they do vouch for.
    @Test(arguments: Setting.all)
    func stepsThatAreTriedAreTheSame(setting: Setting) throws {
        // The preconditioner sees A's large entries: its step is another one.
        if case .riemannian = setting.optimizer { return }
        let configuration = setting.configuration()
        var (tried, vouched) = (try Self.adapter(1e20), try Self.adapter(1e2))
        for number in 0..<6 {
            let a = try tried.update(with: Self.feedback(number), configuration: configuration)
            let b = try vouched.update(with: Self.feedback(number), configuration: configuration)
            #expect(a == b)
            // Making the state is a step of its own kind.
            if number > 0 { #expect(!tried.magnitude.isFinite && vouched.magnitude < 1e15) }
        }
        let d = Self.dimension
        for (i, (a, b)) in zip(tried.values, vouched.values).enumerated() where !(i < 3 * d && i % d == 0) {
            #expect(a == b, "parameter \(i)")
        }
    }

    /// A rate and a clip that no adapter bears: outputs beyond the range of Float after the step.
    @Test(arguments: Setting.all)
    func aStepOutOfRangeIsUndone(setting: Setting) throws {
        let configuration = setting.configuration(rate: 1000, threshold: 1e6)
        var adapter = try Self.adapter(0)
        // State first, from steps that can be borne.
        for number in 0..<3 {
            _ = try adapter.update(with: Self.feedback(number), configuration: setting.configuration())
        }
        var failures = 0
        for number in 3..<40 {
            let kept = Snapshot(adapter)
            do throws(LoRAError) {
                _ = try adapter.update(with: Self.feedback(number, size: 1e12), configuration: configuration)
            } catch {
                failures += 1
                #expect(error.code == .nonFinite && Snapshot(adapter) == kept, "feedback \(number)")
            }
        }
        #expect(failures > 0, "\(setting.testDescription)")
        let isFinite = adapter.values.allSatisfy { $0.isFinite }
        #expect(isFinite)
    }

    /// The bound is one: never below the largest parameter, after any steps.
    @Test(arguments: Setting.all)
    func theBoundHoldsAfterEveryStep(setting: Setting) throws {
        let configuration = setting.configuration(rate: 0.7, threshold: 3)
        var adapter = try Self.adapter(0)
        for number in 0..<60 {
            _ = try adapter.update(with: Self.feedback(number % 7), configuration: configuration)
            let largest = adapter.values.reduce(0) { max($0, abs($1)) }
            #expect(adapter.magnitude >= largest, "step \(number)")
        }
        #expect(adapter.magnitude.isFinite)
    }
}
