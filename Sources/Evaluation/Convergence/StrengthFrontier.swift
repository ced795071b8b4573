/// Variants that differ in one setting of strength only, in its order: what is forgotten against what is learned along them is a
/// frontier.
struct StrengthFrontier {
    /// The setting.
    let setting: String
    /// The variants' places, from the lowest value to the highest.
    let places: [Int]
    /// The values in that order, as text.
    let values: [String]

    /// Those among variants: of elastic weight consolidation, then of forking.
    static func all(of variants: [ConvergenceResult.Variant]) -> [StrengthFrontier] {
        [ConvergenceGrid.Setting.ewc, .fork].flatMap { setting in
            var keys: [String] = []
            var groups: [String: [(place: Int, strength: Double)]] = [:]
            for (place, variant) in variants.enumerated() where variant.method == .engine && variant.drift != nil {
                var settings = Dictionary(
                    variant.candidates.first { $0.isChosen }?.settings.map { ($0.name, $0.value) } ?? [],
                    uniquingKeysWith: { first, _ in first })
                let value = settings.removeValue(forKey: setting.rawValue) ?? off
                // A strength of none of the other kind is the same whether it is named or not.
                for other in [ConvergenceGrid.Setting.ewc, .fork, .audit] {
                    if let named = settings[other.rawValue], strength(named) == 0 { settings[other.rawValue] = nil }
                }
                let others = settings.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
                let key = "\(others), \(variant.measures.kappa)"
                if groups[key] == nil { keys.append(key) }
                groups[key, default: []].append((place, strength(value)))
            }
            return keys.compactMap { key -> StrengthFrontier? in
                let group = (groups[key] ?? []).sorted { ($0.strength, $0.place) < ($1.strength, $1.place) }
                guard group.count > 1, Set(group.map(\.strength)).count == group.count else { return nil }
                return StrengthFrontier(
                    setting: setting.rawValue, places: group.map(\.place),
                    values: group.map { $0.strength == 0 ? off : shortNumber($0.strength) })
            }
        }
    }

    private static let off = ConvergenceGrid.Value.off.text
    private static func strength(_ text: String) -> Double { Double(text) ?? 0 }
}
