public import LoRA
public import Reasoning
internal import TensorCore

/// Everything that decides how an engine works. `attune config` prints these defaults; they are stated here and in
/// ``UpdateConfiguration`` and ``ObjectiveConfiguration``, and nowhere else.
public struct EngineConfiguration: Sendable {
    /// The number of values of an embedding, 1...65,536.
    public var dimension: Int
    /// The rank of new adapters, 1...256 and at most the dimension.
    public var rank: Int
    /// The numerator of the scale; `nil` for the rank, which makes the standard scale 1.
    public var alpha: Float?
    /// How alpha becomes the scale.
    public var scaling: AdapterShape.Scaling
    /// Whether a bias is learned beside the low-rank map.
    public var hasBias: Bool
    /// Whether personalized embeddings are divided by their norm.
    public var normalizesOutput: Bool
    /// The name of the model that makes the embeddings. An adapter is of use only with the model that it learned with, so a
    /// stored one of another model is refused.
    public var embeddingModel: String
    /// The seed of every random number: with the same seed and feedback the engine's state is the same to the bit.
    public var seed: UInt64
    /// How adapters learn.
    public var update: UpdateConfiguration
    /// Whether reads and updates of a user without an adapter throw. Otherwise reads return the embedding as it is, and say
    /// so, and the first update makes an adapter.
    public var isStrict: Bool
    /// The bytes that adapters in memory may take, their optimizers' state and protection included; `nil` for no limit. Beyond it
    /// those that were not used for the longest time are saved to the store and let go, and loaded again when they are needed.
    /// With a limit the store has to hold what is saved: one in the engine's own memory saves nothing.
    public var residentByteBudget: Int?
    /// How safe an update is when it is acknowledged; `nil` for ``Durability/buffered`` with a journal and ``Durability/none``
    /// without one.
    public var durability: Durability?
    /// When adapters are saved, so that a restart need not replay too much of the journal.
    public var checkpoints: CheckpointPolicy
    /// How long the journal keeps what a restart does not need. With ``JournalRetention/untilCheckpoint`` adapters are never made
    /// again from a bank's better start; with ``JournalRetention/days(_:)``, as long as all of their entries are there.
    public var retention: JournalRetention
    /// Whether forgetting a user also makes the adapters of those again who had started from priors that the user gave to
    /// (``PersonalizationEngine/replayStarters(of:from:)``). Otherwise receipts list them.
    public var replaysStarters: Bool
    /// The bank that a new engine is connected to; none by default, and the engine then works the same to the bit, except that
    /// nothing is looked up or stored. An engine's own ``PersonalizationEngine/configuration`` never holds it.
    public var reasoningBank: (any ReasoningBank)?
    /// Whether the bank's answers are cached.
    public var enableReasoningBankCache: Bool
    /// How the engine works with its bank.
    public var reasoning: ReasoningConfiguration
    /// Whether a bank is connected: set in what an engine returns as its configuration.
    public internal(set) var hasReasoningBank = false

    /// An engine's settings.
    ///
    /// - Parameters:
    ///   - dimension: The number of values of an embedding. Embeddings of length 1 suit the default rates.
    ///   - rank: The rank of new adapters; 8 by default, or the dimension where that is smaller.
    ///   - update: How adapters learn; by default ``UpdateConfiguration`` with its default rates for this dimension.
    public init(
        dimension: Int,
        rank: Int? = nil,
        alpha: Float? = nil,
        scaling: AdapterShape.Scaling = .standard,
        hasBias: Bool = true,
        normalizesOutput: Bool = false,
        embeddingModel: String = "unnamed",
        seed: UInt64 = 0,
        update: UpdateConfiguration? = nil,
        isStrict: Bool = false,
        residentByteBudget: Int? = nil,
        durability: Durability? = nil,
        checkpoints: CheckpointPolicy = CheckpointPolicy(),
        retention: JournalRetention = .all,
        replaysStarters: Bool = false,
        reasoningBank: (any ReasoningBank)? = nil,
        enableReasoningBankCache: Bool = true,
        reasoning: ReasoningConfiguration = ReasoningConfiguration()
    ) {
        self.dimension = dimension
        self.rank = rank ?? max(1, min(8, dimension))
        self.alpha = alpha
        self.scaling = scaling
        self.hasBias = hasBias
        self.normalizesOutput = normalizesOutput
        self.embeddingModel = embeddingModel
        self.seed = seed
        self.update = update ?? UpdateConfiguration(dimension: dimension)
        self.isStrict = isStrict
        self.residentByteBudget = residentByteBudget
        self.durability = durability
        self.checkpoints = checkpoints
        self.retention = retention
        self.replaysStarters = replaysStarters
        self.reasoningBank = reasoningBank
        self.enableReasoningBankCache = enableReasoningBankCache
        self.reasoning = reasoning
    }

    /// The shape of new adapters, after checking every setting.
    ///
    /// - Throws: ``EngineError`` (`invalidConfiguration`) naming the setting and its range.
    public func validatedShape() throws(EngineError) -> AdapterShape {
        guard !embeddingModel.isEmpty, embeddingModel.utf8.count <= 1024 else {
            throw EngineError(
                .invalidConfiguration, "configuration", "the embedding model's name is empty or longer than 1024 bytes")
        }
        for (name, value) in [
            ("updatesPerUser", checkpoints.updatesPerUser), ("updates", checkpoints.updates),
            ("bytes", checkpoints.bytes),
        ] where value < 1 {
            throw EngineError(.invalidConfiguration, "configuration", "checkpoints.\(name): \(value) is not above 0")
        }
        if case .days(let days) = retention, days < 1 {
            throw EngineError(.invalidConfiguration, "configuration", "retention: \(days) days are fewer than 1")
        }
        do throws(ReasoningError) {
            try reasoning.validate()
        } catch {
            throw EngineError(.invalidConfiguration, "configuration", error.message, cause: error)
        }
        do throws(LoRAError) {
            let shape = try AdapterShape(
                dimension: dimension, rank: rank, alpha: alpha, scaling: scaling, hasBias: hasBias,
                normalizesOutput: normalizesOutput)
            try update.validate(for: shape)
            if let budget = residentByteBudget, budget < bytesPerAdapter(shape) {
                throw LoRAError(
                    .invalidConfiguration, "residentByteBudget",
                    "\(budget) bytes are fewer than the \(bytesPerAdapter(shape)) of one adapter")
            }
            return shape
        } catch {
            throw EngineError(
                .invalidConfiguration, "configuration", "\(error.operation): \(error.message)", cause: error)
        }
    }
}

extension EngineConfiguration {
    /// The bytes of one adapter in memory with all the state that updates make for it.
    func bytesPerAdapter(_ shape: AdapterShape) -> Int {
        let copies =
            1 + update.optimizer.stateCountPerParameter + (update.elasticWeightConsolidation == nil ? 0 : 3)
            + (update.driftForking == nil ? 0 : 1)
        return copies * AlignedStorage<Float>.byteCount(for: shape.parameterCount) + Self.bytesBesides
    }

    /// About what an adapter takes besides its numbers: 260 to 270 bytes where they are many (docs/performance.md).
    private static var bytesBesides: Int { 256 }

    /// The most adapters in memory.
    func residentLimit(_ shape: AdapterShape) -> Int? { residentByteBudget.map { $0 / bytesPerAdapter(shape) } }

    /// The kind of objective that a like gets.
    var likeObjective: ObjectiveKind {
        switch update.objective.like {
        case .pairwise: .preference
        case .sampledSoftmax, .catalogueSoftmax: .ranking
        }
    }
}
