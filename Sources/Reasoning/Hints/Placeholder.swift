public struct IgnoredHint: Sendable, Hashable { public var text: String; public var reason: String }
public struct ParsedHints: Sendable { public var hints: AdaptationHints; public var ignored: [IgnoredHint] }
public enum HintParser {
    public static func parse(_ text: String) -> ParsedHints { ParsedHints(hints: AdaptationHints(), ignored: []) }
}
public struct EffectiveSettings: Sendable, Hashable {
    public var learningRate: Double; public var clipThreshold: Double; public var consolidationStrength: Double?
}
public enum HintResolver {
    public static func resolve(
        _ hints: AdaptationHints, confidence: Double, over defaults: EffectiveSettings, upperRate: Double?
    ) -> (EffectiveSettings, [IgnoredHint]) {
        var s = defaults
        if case .value(let v)? = hints.learningRate { s.learningRate = _pow(s.learningRate, v, confidence) }
        return (s, [])
    }
    static func _pow(_ a: Double, _ b: Double, _ c: Double) -> Double {
        Elementary.exp((1 - c) * Elementary.log(a) + c * Elementary.log(b))
    }
}
internal import TensorCore
