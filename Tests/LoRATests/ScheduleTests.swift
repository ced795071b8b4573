@testable import LoRA
import Testing

/// Learning rates against PyTorch's schedulers (Tests/Fixtures/schedules.py). PyTorch multiplies step by step where we use
/// closed forms, hence not to the bit; 1e-9 relative is a hundred times what was measured.
struct ScheduleTests {
    struct Content: Decodable, Sendable {
        struct Settings: Decodable, Sendable {
            var stepSize, period, multiplier, patience, cooldown: Int?
            var gamma, minimum, offset, factor, threshold: Double?
        }
        struct WarmUp: Decodable, Sendable {
            let steps: Int
            let start: Double
        }
        struct Case: Decodable, Sendable, CustomTestStringConvertible {
            let name, kind: String
            let base: Double
            let settings: Settings
            let warmUp: WarmUp?
            let rates: [Double]

            var testDescription: String { name }
        }
        let plateauLosses: [Double]
        let cases: [Case]
    }
    static let content = Fixture.load("schedules", as: Content.self)

    static func schedule(_ c: Content.Case) throws -> Schedule {
        let s = c.settings
        // PyTorch's minimum is a rate, ours a share of the base.
        let minimum = (s.minimum ?? 0) / c.base
        let curve: Schedule.Curve =
            switch c.kind {
            case "constant": .constant
            case "step": .step(size: try #require(s.stepSize), factor: try #require(s.gamma))
            case "exponential": .exponential(factor: try #require(s.gamma))
            case "cosine": .cosine(period: try #require(s.period), minimum: minimum)
            case "cosineWarmRestarts":
                .cosineWithRestarts(
                    period: try #require(s.period), multiplier: try #require(s.multiplier), minimum: minimum)
            case "inverseSquareRoot": .inverseSquareRoot(offset: try #require(s.offset))
            case "reduceOnPlateau":
                .reduceOnPlateau(
                    factor: try #require(s.factor), patience: try #require(s.patience),
                    threshold: try #require(s.threshold), cooldown: try #require(s.cooldown), minimum: minimum)
            default: throw Unknown(kind: c.kind)
            }
        return Schedule(curve, warmupSteps: c.warmUp?.steps ?? 0, warmupStart: c.warmUp?.start ?? 0.1)
    }

    struct Unknown: Error { let kind: String }

    @Test(arguments: content.cases)
    func ratesEqualThoseOfPyTorch(c: Content.Case) throws {
        let schedule = try Self.schedule(c)
        try schedule.validate()
        var plateau = PlateauState()
        var worst = 0.0
        for (t, expected) in c.rates.enumerated() {
            let rate = c.base * schedule.multiplier(at: UInt64(t), plateau: plateau.factor)
            worst = max(worst, abs(rate - expected) / expected)
            if t >= schedule.warmupSteps { plateau.observe(Self.content.plateauLosses[t], under: schedule.curve) }
        }
        #expect(worst < 1e-9)
    }

    @Test func theFixtureCoversEveryCurve() {
        #expect(Set(Self.content.cases.map(\.kind)).count == 7)
        #expect(Self.content.cases.count { $0.warmUp != nil } == 9)
    }

    /// The schedule as an adapter follows it: by its own count of updates, with the losses that it sees.
    @Test func anAdapterFollowsItsScheduleByItsOwnUpdates() throws {
        var random = RandomCase(seed: 11, 0)
        let shape = try AdapterShape(dimension: 4, rank: 2)
        var adapter = LoRAAdapter(shape: shape, identity: AdapterIdentity(seed: 1, user: "a"))
        let curve = Schedule.Curve.reduceOnPlateau(factor: 0.5, patience: 1, threshold: 0, cooldown: 1, minimum: 0.1)
        let schedule = Schedule(curve, warmupSteps: 3)
        let configuration = UpdateConfiguration.stated(learningRates: PerObjective(all: 0.25), schedule: schedule)
        let targets = (0..<5).map { _ in random.numbers(4) }
        let inputs = (0..<5).map { _ in random.numbers(4) }
        var plateau = PlateauState()
        for t in 0..<40 {
            let feedback = Feedback(embedding: inputs[t % 5], signal: .target(targets[t % 5]))
            let expected = 0.25 * schedule.multiplier(at: UInt64(t), plateau: plateau.factor)
            let report = try adapter.update(with: [feedback], configuration: configuration)
            #expect(report.learningRate == expected && report.step == UInt64(t + 1))
            if t >= 3 { plateau.observe(report.lossBefore, under: curve) }
        }
        #expect(adapter.plateau == plateau && plateau.factor < 1)
    }

    @Test func curvesEndWhereTheyShouldFarOut() {
        let far: UInt64 = 1 << 62
        #expect(Schedule(.exponential(factor: 0.999)).multiplier(at: far) == 0)
        #expect(Schedule(.step(size: 1, factor: 1)).multiplier(at: far) == 1)
        let cosine = Schedule(.cosine(period: 7, minimum: 0.2))
        #expect((0..<100).allSatisfy { (0.2...1).contains(cosine.multiplier(at: $0)) })
        for multiplier in [1, 2, 1000] {
            let restarts = Schedule(.cosineWithRestarts(period: 1, multiplier: multiplier))
            #expect((0...1).contains(restarts.multiplier(at: far)))
            #expect((0...1).contains(restarts.multiplier(at: .max)))
        }
        #expect(Schedule(.inverseSquareRoot(offset: 1e-9)).multiplier(at: .max) >= 0)
    }
}
