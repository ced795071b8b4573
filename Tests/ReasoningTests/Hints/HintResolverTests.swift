import TensorCore
import Testing

@testable import Reasoning

@Suite("Hints over settings")
struct HintResolverTests {
    private static let defaults = EffectiveSettings(learningRate: 0.04, clipThreshold: 1, consolidationStrength: 0.5)

    private func resolve(
        rate: Adjustment? = nil, clip: Adjustment? = nil, lambda: Adjustment? = nil, _ confidence: Double = 1,
        over defaults: EffectiveSettings = Self.defaults, upperRate: Double? = nil
    ) -> (settings: EffectiveSettings, reasons: [IgnoredHint.Reason]) {
        let hints = AdaptationHints(learningRate: rate, clipThreshold: clip, consolidationStrength: lambda)
        let resolved = HintResolver.resolve(hints, confidence: confidence, over: defaults, upperRate: upperRate)
        return (resolved.settings, resolved.ignored.map(\.reason))
    }

    private func isNear(_ value: Double, _ expected: Double) -> Bool {
        abs(value - expected) <= 1e-15 * abs(expected) * 4
    }

    @Test("count by their confidence, geometrically")
    func countByTheirConfidence() {
        // √(0.04 · 0.01) = 0.02; 0.04^¾ · 0.01^¼ = 0.04 / √2.
        #expect(isNear(resolve(rate: .value(0.01), 0.5).settings.learningRate, 0.02))
        #expect(isNear(resolve(rate: .value(0.01), 0.25).settings.learningRate, 0.04 / 2.0.squareRoot()))
        #expect(isNear(resolve(clip: .factor(4), 0.5).settings.clipThreshold, 2))
        #expect(isNear(resolve(lambda: .factor(0.25), 0.5).settings.consolidationStrength ?? 0, 0.25))
        #expect(resolve(rate: .value(0.01), 0).settings == Self.defaults)
        #expect(resolve(rate: .value(0.01), 1).settings.learningRate == 0.01)
        #expect(resolve(rate: .factor(1), 0.3).settings == Self.defaults)
        #expect(resolve(rate: .value(0.01), -7).settings == Self.defaults)
        #expect(resolve(rate: .value(0.01), 7).settings.learningRate == 0.01)
        #expect(resolve(rate: .value(0.01), .infinity).settings.learningRate == 0.01)
        #expect(resolve().settings == Self.defaults)
    }

    @Test("count linearly where a strength is 0")
    func countLinearlyWhereAStrengthIs0() {
        #expect(resolve(lambda: .value(0), 0.5).settings.consolidationStrength == 0.25)
        #expect(resolve(lambda: .value(0)).settings.consolidationStrength == 0)
        var defaults = Self.defaults
        defaults.consolidationStrength = 0
        #expect(resolve(lambda: .value(2), 0.25, over: defaults).settings.consolidationStrength == 0.5)
        let scaled = resolve(lambda: .factor(2), 0.25, over: defaults)
        #expect(scaled.settings == defaults)
        #expect(scaled.reasons == [])
    }

    @Test("change each only their own setting")
    func changeOnlyTheirOwnSetting() {
        let all = resolve(rate: .value(0.01), clip: .factor(0.75), lambda: .value(2))
        #expect(all.settings == EffectiveSettings(learningRate: 0.01, clipThreshold: 0.75, consolidationStrength: 2))
        #expect(all.reasons.isEmpty)
        #expect(resolve(clip: .value(3)).settings.learningRate == 0.04)
        #expect(resolve(clip: .value(3)).settings.consolidationStrength == 0.5)
    }

    @Test("are moved to the bounds, and reported")
    func areMovedToTheBounds() {
        for (hint, bounded) in [(50.0, 1.0), (1e-9, 1e-6), (0, 1e-6), (.greatestFiniteMagnitude, 1)] {
            let resolved = resolve(rate: .value(hint))
            #expect(resolved.settings.learningRate == bounded, "\(hint)")
            #expect(resolved.reasons == [.outOfBounds])
        }
        #expect(resolve(rate: .factor(1e300)).settings.learningRate == 1)
        #expect(resolve(clip: .value(1e3)).settings.clipThreshold == 100)
        #expect(resolve(clip: .value(1e-4)).settings.clipThreshold == 1e-3)
        #expect(resolve(lambda: .value(11)).settings.consolidationStrength == 10)
        #expect(resolve(rate: .value(1)).reasons == [])
        #expect(resolve(rate: .value(1e-6)).reasons == [])
    }

    @Test("do not touch a default beyond the bounds, nor crush it")
    func doNotCrushADefaultBeyondTheBounds() {
        let steep = EffectiveSettings(learningRate: 38, clipThreshold: 250, consolidationStrength: 20)
        #expect(resolve(over: steep).settings == steep)
        let halved = resolve(rate: .factor(0.5), clip: .factor(0.5), lambda: .factor(0.75), over: steep)
        #expect(halved.settings == EffectiveSettings(learningRate: 19, clipThreshold: 125, consolidationStrength: 15))
        #expect(halved.reasons == [])
        let doubled = resolve(rate: .factor(2), over: steep)
        #expect(doubled.settings == steep)
        #expect(doubled.reasons == [.outOfBounds])
        #expect(resolve(rate: .value(0.5), over: steep).settings.learningRate == 0.5)
        let tiny = EffectiveSettings(learningRate: 1e-8, clipThreshold: 1)
        #expect(resolve(over: tiny).settings == tiny)
        #expect(resolve(rate: .factor(0.5), over: tiny).settings == tiny)
        #expect(resolve(rate: .factor(2), over: tiny).settings.learningRate == 2e-8)
    }

    @Test("lead no further than the largest safe rate")
    func leadNoFurtherThanTheLargestSafeRate() {
        let bounded = resolve(rate: .value(0.9), upperRate: 0.1)
        #expect(bounded.settings.learningRate == 0.1)
        #expect(bounded.reasons == [.outOfBounds])
        #expect(resolve(rate: .value(0.09), upperRate: 0.1).reasons == [])
        #expect(resolve(clip: .value(0.9), upperRate: 0.1).settings.clipThreshold == 0.9)
        #expect(resolve(upperRate: 0.001).settings == Self.defaults)
        #expect(resolve(rate: .value(0.9), upperRate: 0.001).settings.learningRate == 0.001)
        // Below the least rate too.
        #expect(resolve(rate: .value(0.9), upperRate: 1e-8).settings.learningRate == 1e-8)
        #expect(resolve(rate: .value(0.9), upperRate: .infinity).settings.learningRate == 0.9)
        for odd in [Double.nan, 0, -1, -Double.infinity] {
            let refused = resolve(rate: .value(0.9), clip: .value(2), upperRate: odd)
            #expect(refused.settings.learningRate == 0.04)
            #expect(refused.settings.clipThreshold == 2)
            #expect(refused.reasons == [.noUpperRate])
        }
    }

    @Test("that are no numbers are not followed")
    func thatAreNoNumbersAreNotFollowed() {
        for odd in [Double.nan, .infinity, -.infinity, .signalingNaN] {
            for adjustment in [Adjustment.value(odd), .factor(odd)] {
                let resolved = resolve(rate: adjustment, clip: adjustment, lambda: adjustment)
                #expect(resolved.settings == Self.defaults)
                #expect(resolved.reasons == [.notANumber, .notANumber, .notANumber], "\(adjustment)")
            }
        }
        #expect(resolve(rate: .value(-0.01)).reasons == [.negative])
        #expect(resolve(rate: .factor(-2)).reasons == [.negative])
        #expect(resolve(rate: .factor(-2)).settings == Self.defaults)
        let unsure = resolve(rate: .value(0.01), clip: .value(2), .nan)
        #expect(unsure.settings == Self.defaults)
        #expect(unsure.reasons == [.noConfidence, .noConfidence])
    }

    @Test("need a setting that is on, with a number")
    func needASettingThatIsOn() {
        let off = EffectiveSettings(learningRate: 0.04, clipThreshold: 1)
        let resolved = HintResolver.resolve(
            AdaptationHints(consolidationStrength: .value(2)), confidence: 1, over: off)
        #expect(resolved.settings == off)
        #expect(resolved.ignored == [IgnoredHint("λ = 2.0", .settingIsOff)])
        for odd in [Double.infinity, .nan, 0, -1] {
            let odds = EffectiveSettings(learningRate: odd, clipThreshold: odd)
            #expect(resolve(rate: .value(0.01), clip: .factor(0.5), over: odds).reasons == [.noDefault, .noDefault])
            #expect(resolve(rate: .value(0.01), over: odds).settings.learningRate.bitPattern == odd.bitPattern)
        }
    }

    @Test("lead to finite settings between the default and the hint, whatever they are")
    func leadBetweenDefaultAndHint() {
        let seed: UInt64 = 42
        var random = PhiloxGenerator(seed: seed, purpose: .simulation)
        for i in 0..<20_000 {
            let defaults = EffectiveSettings(
                learningRate: magnitude(&random), clipThreshold: magnitude(&random),
                consolidationStrength: magnitude(&random))
            let hint = magnitude(&random)
            let adjustment: Adjustment = i % 2 == 0 ? .value(hint) : .factor(hint)
            let confidence = Double.random(in: -0.1...1.1, using: &random)
            let upper = i % 3 == 0 ? magnitude(&random) : nil
            let settings = resolve(
                rate: adjustment, clip: adjustment, lambda: adjustment, confidence, over: defaults, upperRate: upper
            ).settings
            for setting in HintSetting.allCases {
                guard let value = settings[setting], let before = defaults[setting] else { continue }
                let high = max(
                    before, min(setting.bounds.upperBound, (setting == .learningRate ? upper : nil) ?? .infinity))
                let low = min(before, setting.bounds.lowerBound, (setting == .learningRate ? upper : nil) ?? .infinity)
                guard value.isFinite, value <= high, value >= low else {
                    Issue.record(
                        "seed \(seed), \(i): \(setting) \(before) → \(value) under \(adjustment), \(confidence), \(upper ?? .nan)"
                    )
                    return
                }
            }
        }
    }

    @Test("are not led past by rounding")
    func areNotLedPastByRounding() {
        let seed: UInt64 = 43
        var random = PhiloxGenerator(seed: seed, purpose: .simulation)
        for _ in 0..<1_000 {
            let rate = Double.random(in: 1e-4...0.5, using: &random)
            let confidence = Double.random(in: 0...1, using: &random)
            let defaults = EffectiveSettings(learningRate: rate, clipThreshold: 1)
            let value = resolve(rate: .value(rate.nextUp), confidence, over: defaults).settings.learningRate
            #expect(value == rate || value == rate.nextUp, "seed \(seed): \(rate) became \(value)")
        }
    }

    /// From 1e-12 to 1e12, alike in every decade.
    private func magnitude(_ random: inout PhiloxGenerator) -> Double {
        var value = Double.random(in: 1...10, using: &random)
        let decade = Int.random(in: -12...12, using: &random)
        for _ in 0..<abs(decade) { value = decade < 0 ? value / 10 : value * 10 }
        return value
    }
}
