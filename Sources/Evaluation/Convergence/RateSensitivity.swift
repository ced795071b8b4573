/// How what a variant does for the donors depends on its learning rate.
struct RateSensitivity {
    /// Candidates that differ in their rates only, in the order of the rates.
    struct Line {
        let points: [(rate: Double, value: Interval)]
        /// Whether the chosen candidate is among them.
        let isChosen: Bool
    }

    let variant: String
    /// NDCG@10 for `engine`, AUC for pairwise methods: what its candidates are chosen by.
    let measureName: String
    /// Every rate that was tried, ascending.
    let rates: [Double]
    let lines: [Line]
    /// The rates at which a candidate could not be borne, ascending.
    let failures: [Double]
    /// The chosen rate.
    let chosen: Double?

    /// `nil` for a variant of which fewer than two rates were tried, or none could be borne.
    init?(_ variant: ConvergenceResult.Variant) {
        let rated = variant.candidates.compactMap { candidate in
            candidate.settings.first { $0.name == ConvergenceGrid.Setting.rate.rawValue }
                .flatMap { Double($0.value) }.map { (candidate: candidate, rate: $0) }
        }
        rates = Set(rated.map(\.rate)).sorted()
        guard rates.count > 1, rated.contains(where: { $0.candidate.failure == nil }) else { return nil }
        let isEngine = variant.method == .engine
        self.variant = variant.name
        measureName = isEngine ? "NDCG@10" : "AUC"
        // Candidates with the same other settings share a line, in the order in which these first occur.
        var keys: [String] = []
        var groups: [String: [(candidate: ConvergenceResult.Candidate, rate: Double)]] = [:]
        for entry in rated {
            let others = entry.candidate.settings.filter { $0.name != ConvergenceGrid.Setting.rate.rawValue }
            let key = "\(others.map { "\($0.name) \($0.value)" }), \(entry.candidate.kappa)"
            if groups[key] == nil { keys.append(key) }
            groups[key, default: []].append(entry)
        }
        lines = keys.compactMap { key in
            let group = (groups[key] ?? []).sorted { $0.rate < $1.rate }
            let points = group.compactMap { entry in
                (isEngine ? entry.candidate.ndcg10 : entry.candidate.auc).map { (rate: entry.rate, value: $0) }
            }
            return points.isEmpty ? nil : Line(points: points, isChosen: group.contains { $0.candidate.isChosen })
        }
        failures = Set(rated.filter { $0.candidate.failure != nil }.map(\.rate)).sorted()
        chosen = rated.first { $0.candidate.isChosen }?.rate
    }
}
