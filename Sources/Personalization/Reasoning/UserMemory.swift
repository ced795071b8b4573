internal import LoRA
internal import Reasoning
internal import TensorCore

/// What the engine keeps of a user while a bank is connected. Lives in the user's slot, behind the shard's lock.
final class UserMemory {
    /// An update whose outcome the next batch will show.
    struct Pending {
        var episode: PendingEpisode
        var trace: StepTrace
        /// The bank that gave its hints.
        let connection: BankConnection

        /// Hands the episode to its queue as one of which nobody will know the outcome.
        func settled() -> EpisodeQueue.Arrival { connection.take(episode, next: .none) }
    }

    /// A batch of a new adapter, kept until it may be learned again from a better start.
    struct EarlyBatch {
        let feedback: [Feedback]
        let overrides: UpdateOverrides
    }

    /// The user as the bank knows them.
    let digest: UserDigest
    /// The user's number in 0..<1, by which one of a bank's rates is drawn.
    let draw: Double
    var tracker: ContextTracker
    /// The objective of the last batch.
    var lastObjective: ObjectiveKind?
    var pending: Pending?
    /// The first batches, while the adapter may still be made again.
    var early: [EarlyBatch]?
    /// A trace that is not needed any more, for the next step.
    var spareTrace: StepTrace?
    /// How many batches there were when the adapter was last made again.
    private var restartedAt = 0

    /// Batches with more feedbacks than this are not kept.
    static let longestEarlyBatch = 16

    init(user: String, seen: Int, mayRestart: Bool, seed: UInt64, key: DigestKey) {
        digest = key.digest(of: user)
        var generator = PhiloxGenerator(seed: seed, stream: StableHash.hash(user), purpose: .exploration)
        draw = generator.uniformDouble()
        tracker = ContextTracker(seen: seen)
        early = mayRestart ? [] : nil
    }

    /// All that making an adapter again changes here.
    var restartState: (pending: Pending?, early: [EarlyBatch]?, restartedAt: Int) {
        get { (pending, early, restartedAt) }
        set { (pending, early, restartedAt) = newValue }
    }

    /// Whether the adapter is to be made again before the next update.
    func isRestartDue(_ configuration: ReasoningConfiguration) -> Bool {
        guard let early, early.count > restartedAt else { return false }
        return configuration.restartsAfter.contains(early.count)
    }

    /// The adapter was made again, or could have been; after the last time nothing is kept for it any more.
    func isRestarted(_ configuration: ReasoningConfiguration) {
        restartedAt = early?.count ?? 0
        if restartedAt >= configuration.restartsAfter.last ?? 0 { early = nil }
    }

    /// Keeps one of the first batches.
    func keep(_ feedback: [Feedback], _ overrides: UpdateOverrides) {
        guard early != nil else { return }
        if feedback.count > Self.longestEarlyBatch {
            early = nil
        } else {
            early?.append(EarlyBatch(feedback: feedback, overrides: overrides))
        }
    }

    func takeSpareTrace() -> StepTrace {
        defer { spareTrace = nil }
        return spareTrace ?? StepTrace()
    }

    /// The episode as one of which nobody will ever know the outcome.
    func takePending() -> Pending? {
        defer { pending = nil }
        return pending
    }
}
