import LoRA
import TensorCore

/// Tries the candidates of variants on the donors. Used by one task at a time.
///
/// No donor's own likes inform what the donor starts from: donors' adapters are dealt into folds, and a bank that advises a
/// donor has learned from the other half of them.
final class CandidateTuning {
    private typealias Setting = ConvergenceGrid.Setting
    private typealias Candidate = [(name: ConvergenceGrid.Setting, value: ConvergenceGrid.Value)]

    private let tuner: Tuner
    private let catalogue: CatalogueContext
    /// The donors' adapters by how they were trained; the last only, since each holds all of them.
    private var donors: (training: String, bank: DonorBank)?

    init(tuner: Tuner, catalogue: CatalogueContext) {
        self.tuner = tuner
        self.catalogue = catalogue
    }

    /// The stages of progress of tuning one variant.
    static func stages(of variant: ConvergenceGrid.Variant) -> Int {
        switch variant.method {
        case .none, .popularity, .profile: 1
        case .ridge: RidgeFoldIn.grid.count
        case .bias, .cold, .warm, .similar, .random, .engine:
            completed(variant).candidateCount + (variant.method == .engine ? 1 : 0)
        }
    }

    /// The variant with a pairwise method's rates and strengths where it names none.
    private static func completed(_ variant: ConvergenceGrid.Variant) -> ConvergenceGrid.Variant {
        var variant = variant
        func add(_ setting: ConvergenceGrid.Setting, _ values: [Double]) {
            guard !variant.settings.contains(where: { $0.name == setting }) else { return }
            variant.settings.append(.init(setting, values.map { .number($0) }))
        }
        let rates = PairwiseTraining.rates.map { Double("\($0)") ?? Double($0) }
        switch variant.method {
        case .bias, .cold: add(.rate, rates)
        case .warm, .similar, .random:
            // Strengths change faster: the donors' adapters are trained anew for each rate.
            add(.rate, rates)
            add(.strength, WarmAdapterMethod.strengths)
        case .none, .popularity, .profile, .ridge, .engine: break
        }
        return variant
    }

    /// The candidate that is best on the donors, the first of equals: by NDCG@10 for `engine` and for methods that do not
    /// learn, by AUC for pairwise ones. One that the adapters cannot bear is passed over.
    ///
    /// - Throws: ``DataError`` (`malformedGrid`) where they can bear none.
    func best(of variant: ConvergenceGrid.Variant) async throws -> Tuner.Choice {
        let kappas = variant.settings.first { $0.name == .kappa }?.values.compactMap(\.number) ?? []
        switch variant.method {
        case .none, .profile, .popularity:
            let method = IdentityMethod(query: variant.method == .profile ? .profile : nil)
            let trial = Trial(variant.name, basis: "grid \(variant.method.rawValue)", ofGrid: true)
            let (kappa, _) = try await tuner.bestKappa(trial, among: kappas) { method }
            return Tuner.Choice(trial: trial, kappa: kappa) { method }
        case .ridge: return try await RidgeFoldIn.tuned(with: tuner, owner: variant.name, kappas: kappas)
        case .bias, .cold, .warm, .similar, .random, .engine: break
        }
        var best: (choice: Tuner.Choice, value: Double)?
        var failure: TrialFailure?
        for candidate in Self.completed(variant).candidates {
            let attempt = attempt(variant, candidate)
            do {
                let mean = try await tuner.scores(attempt.choice.trial, kappa: attempt.choice.kappa, attempt.onDonors)
                    .mean
                let value = variant.method == .engine ? mean.ndcg10 : mean.auc
                if value > best?.value ?? -1 { best = (attempt.choice, value) }
            } catch let error as TrialFailure {
                failure = failure ?? error
            }
        }
        guard let best else {
            throw DataError(
                .malformedGrid,
                "variant '\(variant.name)': the adapters could bear none of its candidates; the first failed with: "
                    + "\(failure?.description ?? "no candidate"); try lower rates")
        }
        return best.choice
    }

    /// A candidate for everybody else, and for the donors.
    private typealias Attempt = (choice: Tuner.Choice, onDonors: () async throws -> any RankingMethod)

    private func attempt(_ variant: ConvergenceGrid.Variant, _ candidate: Candidate) -> Attempt {
        let given = Dictionary(candidate.map { ($0.name, $0.value) }, uniquingKeysWith: { first, _ in first })
        let isEngine = variant.method == .engine
        let kappa =
            given[.kappa]?.number ?? (isEngine ? EngineMethod.defaultPopularityWeight : catalogue.kappa)
        let shown = candidate.filter { $0.name != .kappa }.map { ($0.name.rawValue, $0.value.text) }
        // Sorted, so that the order in which a grid names its settings makes no other piece of the same work.
        let basis = (candidate.filter { $0.name != .kappa }.map { "\($0.name.rawValue)=\($0.value.text)" }).sorted()
        let trial = Trial(
            variant.name, shown, basis: "grid \(variant.method.rawValue), \(basis.joined(separator: ", "))",
            ofGrid: true)
        let settings = candidate.compactMap { setting in
            setting.name == .kappa ? nil : setting.value.asNumber.map { (name: setting.name.rawValue, value: $0) }
        }
        guard isEngine else {
            let method = { [self] in try await pairwise(variant.method, given, kappa: kappa) }
            return (Tuner.Choice(trial: trial, kappa: kappa, settings: settings) { try await method() }, method)
        }
        let usesBank = given[.bank] != .flag(false)
        let plain = { [self] in
            try EngineMethod(
                given, kappa: kappa, data: tuner.data, rank: tuner.configuration.rank, seed: tuner.configuration.seed)
        }
        let choice = Tuner.Choice(trial: trial, kappa: kappa, settings: settings) { [self] in
            usesBank ? try await plain().advised(by: tuner) : try plain()
        }
        return (choice, { [self] in usesBank ? try await plain().crossFitted(by: tuner) : try plain() })
    }

    private func pairwise(
        _ method: EvaluationMethod, _ given: [ConvergenceGrid.Setting: ConvergenceGrid.Value], kappa: Double
    ) async throws -> any RankingMethod {
        let (data, configuration) = (tuner.data, tuner.configuration)
        let offsets = data.popularity.map { Float(kappa) * $0 }
        let rate = Float(given[.rate]?.number ?? 0)
        if method == .bias { return BiasVectorMethod(vectors: data.vectors, offsets: offsets, rate: rate) }
        let rank = given[.rank]?.number.map { Int($0) } ?? configuration.rank
        let training = try PairwiseAdapter(
            vectors: data.vectors, offsets: offsets, rank: rank, rate: rate, seed: configuration.seed)
        if method == .cold { return ColdAdapterMethod(training) }
        let company: DonorBank.Company? =
            switch method {
            case .similar: .nearest
            case .random: .random
            default: nil
            }
        let name = "\(rank) \(rate) \(kappa)"
        let bank: DonorBank
        if let donors, donors.training == name {
            bank = donors.bank
        } else {
            bank = try await DonorBank.trained(
                on: data, query: configuration.query, training: training, seed: configuration.seed,
                threads: configuration.threads)
            donors = (name, bank)
        }
        return WarmAdapterMethod(training, bank: bank, company: company, strength: given[.strength]?.number ?? 1)
    }
}

extension ConvergenceGrid.Value {
    /// The number, where it is one.
    var number: Double? {
        if case .number(let value) = self { return value }
        return nil
    }

    /// The value among numbers, for a record: yes is 1, off is 0; `nil` for words and lists.
    fileprivate var asNumber: Double? {
        switch self {
        case .number(let value): value
        case .flag(let flag): flag ? 1 : 0
        case .off: 0
        case .word, .counts: nil
        }
    }
}
