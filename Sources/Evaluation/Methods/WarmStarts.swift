import LoRA

/// Tunes `cold` and the methods that start from its donors' adapters; what they share is made once, when first needed.
///
/// Used by one task at a time.
final class WarmStarts {
    private let tuner: Tuner
    private let catalogue: CatalogueContext
    private var tunedCold: Tuner.Choice?
    private var trainedBank: DonorBank?

    /// The stages of progress of tuning one method that starts warm: every strength, and a rate on either side of that of
    /// `cold` at the least.
    static let stages = WarmAdapterMethod.strengths.count + 2

    init(tuner: Tuner, catalogue: CatalogueContext) {
        self.tuner = tuner
        self.catalogue = catalogue
    }

    /// The stages of what the given methods share: tuning `cold`, training the donors' adapters.
    static func sharedStages(of methods: [EvaluationMethod]) -> Int {
        let warm = methods.contains { [.warm, .similar, .random].contains($0) }
        return (warm || methods.contains(.cold) ? PairwiseTraining.rates.count : 0) + (warm ? 1 : 0)
    }

    /// `cold` at the rate with the best AUC on the donors.
    func cold() async throws -> Tuner.Choice {
        if let tunedCold { return tunedCold }
        // The choice is kept, so that it must not keep this.
        let (tuner, catalogue) = (tuner, catalogue)
        let choice = try await tuner.bestRate(PairwiseTraining.rates, kappa: catalogue.kappa, owner: "cold") { rate in
            ColdAdapterMethod(try Self.training(rate: rate, tuner, catalogue))
        }
        tunedCold = choice
        return choice
    }

    /// A method that starts warm, at the strength and the rate with the best AUC on the donors: first the strength at the
    /// rate of `cold`, then from that rate down and up the grid for as long as AUC rises.
    ///
    /// - Parameter company: Where users are started anew; `nil` for `warm`.
    func choice(_ company: DonorBank.Company?, owner: String) async throws -> Tuner.Choice {
        let coldRate = try await coldRate()
        func trial(strength: Double, rate: Float) async throws -> (choice: Tuner.Choice, auc: Double) {
            let trial = Trial(owner, [("strength", "\(strength)"), ("rate", "\(rate)")])
            let method = { [self] in
                WarmAdapterMethod(
                    try training(rate: rate), bank: try await bank(), company: company, strength: strength)
            }
            let scores = try await tuner.scores(trial, kappa: catalogue.kappa) { try await method() }
            let settings = [("strength", strength), ("rate", Double("\(rate)") ?? Double(rate))]
            let choice = Tuner.Choice(trial: trial, kappa: catalogue.kappa, settings: settings) { try await method() }
            return (choice, scores.mean.auc)
        }
        var best = try await trial(strength: WarmAdapterMethod.strengths[0], rate: coldRate)
        var strength = WarmAdapterMethod.strengths[0]
        for other in WarmAdapterMethod.strengths.dropFirst() {
            let candidate = try await trial(strength: other, rate: coldRate)
            if candidate.auc > best.auc { (best, strength) = (candidate, other) }
        }
        let rates = PairwiseTraining.rates
        let place = rates.firstIndex(of: coldRate) ?? 0
        for direction in [-1, 1] {
            var i = place + direction
            while rates.indices.contains(i) {
                // A rate that the adapters cannot bear is passed over, as in tuning `cold`.
                guard let candidate = try await bearable({ try await trial(strength: strength, rate: rates[i]) }),
                    candidate.auc > best.auc
                else { break }
                best = candidate
                i += direction
            }
        }
        return best.choice
    }

    /// The result of a trial, or `nil` where the adapters could not bear its settings.
    private func bearable<R>(_ trial: () async throws -> R) async throws -> R? {
        do { return try await trial() } catch is TrialFailure { return nil }
    }

    private func training(rate: Float) throws -> PairwiseAdapter { try Self.training(rate: rate, tuner, catalogue) }

    private static func training(
        rate: Float, _ tuner: Tuner, _ catalogue: CatalogueContext
    ) throws -> PairwiseAdapter {
        let (data, configuration) = (tuner.data, tuner.configuration)
        return try PairwiseAdapter(
            vectors: data.vectors, offsets: catalogue.offsets, rank: configuration.rank, rate: rate,
            seed: configuration.seed)
    }

    private func coldRate() async throws -> Float {
        let settings = try await cold().settings
        return Float(settings.first { $0.name == "rate" }?.value ?? Double(PairwiseTraining.rates[0]))
    }

    /// The donors' adapters, each trained at the rate of `cold`.
    private func bank() async throws -> DonorBank {
        if let trainedBank { return trainedBank }
        let (data, configuration) = (tuner.data, tuner.configuration)
        let training = try training(rate: try await coldRate())
        let bank = try await tuner.progress.run("training the donors' adapters") { report in
            try await DonorBank.trained(
                on: data, query: configuration.query, training: training, seed: configuration.seed,
                threads: configuration.threads, progress: report)
        }
        trainedBank = bank
        return bank
    }
}
