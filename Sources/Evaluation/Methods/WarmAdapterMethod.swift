import LoRA
import TensorCore

/// A low-rank adapter per user that starts from what donors have learned: methods `warm`, `similar` and `random`. It
/// learns as `cold` does.
///
/// All start from the global prior. With a company (`similar`, `random`) a user is started anew, from ½ global + ½ mean
/// of the company, once 4 likes are known, and the user's feedback so far is learned again from there.
struct WarmAdapterMethod: RankingMethod {
    private let training: PairwiseAdapter
    private let bank: DonorBank
    private let company: DonorBank.Company?
    /// ρ: what every prior is multiplied by.
    private let strength: Double
    let negativeCount = PairwiseTraining.negatives
    var isSeeded: Bool { true }
    var bytesPerAdapter: Int? { training.bytesPerAdapter }

    /// The strengths ρ that are tried on the donors.
    static let strengths: [Double] = [1, 0.5, 0.25, 0.1]

    init(_ training: PairwiseAdapter, bank: DonorBank, company: DonorBank.Company?, strength: Double) {
        self.training = training
        self.bank = bank
        self.company = company
        self.strength = strength
    }

    func ranker(for userID: String, seed replicate: Int) throws -> any Ranker {
        try WarmRanker(method: self, userID: userID, replicate: replicate)
    }

    private final class WarmRanker: Ranker {
        private let method: WarmAdapterMethod
        private let userID: String
        private let replicate: Int
        private var adapter: LoRAAdapter
        private let scratch = UpdateScratch()
        /// What was learned from before the restart.
        private var history: [LearningEvent] = []

        init(method: WarmAdapterMethod, userID: String, replicate: Int) throws {
            self.method = method
            self.userID = userID
            self.replicate = replicate
            adapter = try method.training.start(
                userID: userID, replicate: replicate,
                from: method.bank.global(for: userID)?.scaled(by: method.strength))
        }

        func vector(for query: [Float]) throws -> [Float] { try adapter.forward(query) }

        func learn(from event: LearningEvent) throws {
            let training = method.training
            let known = event.seen.count + 1
            guard let company = method.company, known <= DonorBank.restartLikes else {
                return try training.learn(&adapter, from: event, scratch: scratch)
            }
            history.append(event)
            guard known == DonorBank.restartLikes,
                let prior = try method.bank.start(company, for: userID, likes: event.seen + [event.positive])
            else { return try training.learn(&adapter, from: event, scratch: scratch) }
            adapter = try training.start(
                userID: userID, replicate: replicate, from: prior.scaled(by: method.strength))
            for event in history { try training.learn(&adapter, from: event, scratch: scratch) }
        }
    }
}

extension AdapterPrior {
    /// The prior whose product is ρ times this one's.
    func scaled(by factor: Double) -> AdapterPrior {
        AdapterPrior(
            dimension: dimension, left: left, right: right,
            singularValues: singularValues.map { Float(factor * Double($0)) },
            bias: bias.map { Float(factor * Double($0)) }, discardedTail: factor * discardedTail,
            shrinkage: factor * shrinkage, donors: donors)
    }
}
