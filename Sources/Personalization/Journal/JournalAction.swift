internal import LoRA
internal import TensorCore

/// What an entry says was done to an adapter. The format is in docs/formats.md.
struct JournalAction {
    enum Kind {
        /// The adapter was made.
        case create(Start)
        /// One step.
        case update(Update)
        /// The protection was anchored.
        case consolidate
        /// Nothing but the version changed: feedback before this entry was forgotten.
        case correction
    }

    /// What an adapter is made from.
    struct Start: Equatable {
        /// A prior, by its hash; `nil` for a cold start.
        var prior: UInt64?
        /// Whether there was an adapter, and the new one learned again what that had learned.
        var relearns = false
    }

    struct Update {
        /// What was asked for instead of the configured settings, by the caller or a bank.
        var overrides: UpdateOverrides
        /// The rate, threshold and strength that came of it.
        var learningRate: Double
        var clipThreshold: Double
        var consolidationStrength: Float
        /// The adapter's steps before this one: the counter of its random numbers.
        var steps: UInt64
        /// Set where the adapter was made for this update, or made again.
        var start: Start?
        /// The hashes of the catalogues that the feedback refers to.
        var catalogues: [UInt64]
        var feedback: [UInt8]
    }

    /// The hash of the configuration.
    var configuration: UInt64
    var kind: Kind

    /// The prior that an adapter was made from here, by its hash.
    var prior: UInt64? {
        get {
            switch kind {
            case .create(let start): start.prior
            case .update(let update): update.start?.prior
            case .consolidate, .correction: nil
            }
        }
        set {
            switch kind {
            case .create(var start):
                start.prior = newValue
                kind = .create(start)
            case .update(var update):
                update.start?.prior = newValue
                kind = .update(update)
            case .consolidate, .correction: break
            }
        }
    }
}

extension JournalAction {
    private static let format: UInt8 = 1

    private struct Flags: OptionSet {
        let rawValue: UInt8
        static let learningRate = Flags(rawValue: 1 << 0)
        static let clipThreshold = Flags(rawValue: 1 << 1)
        static let consolidationStrength = Flags(rawValue: 1 << 2)
        static let start = Flags(rawValue: 1 << 3)
        static let prior = Flags(rawValue: 1 << 4)
        static let relearns = Flags(rawValue: 1 << 5)
        static let all = Flags(rawValue: (1 << 6) - 1)
    }

    func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: 64)
        writer.append(Self.format)
        switch kind {
        case .update(let update):
            writer.append(UInt8(0))
            writer.append(configuration)
            var flags: Flags = []
            if update.overrides.learningRate != nil { flags.insert(.learningRate) }
            if update.overrides.clipThreshold != nil { flags.insert(.clipThreshold) }
            if update.overrides.consolidationStrength != nil { flags.insert(.consolidationStrength) }
            if update.start != nil { flags.insert(.start) }
            if update.start?.prior != nil { flags.insert(.prior) }
            if update.start?.relearns == true { flags.insert(.relearns) }
            writer.append(flags.rawValue)
            writer.append(update.learningRate)
            writer.append(update.clipThreshold)
            writer.append(update.consolidationStrength)
            writer.append(short: update.steps)
            if let prior = update.start?.prior { writer.append(prior) }
            writer.append(short: UInt(update.catalogues.count))
            for hash in update.catalogues { writer.append(hash) }
            writer.append(bytes: update.feedback)
        case .create(let start):
            writer.append(UInt8(1))
            writer.append(configuration)
            writer.append(UInt8((start.prior == nil ? 0 : 1) | (start.relearns ? 2 : 0)))
            if let prior = start.prior { writer.append(prior) }
        case .consolidate:
            writer.append(UInt8(2))
            writer.append(configuration)
        case .correction:
            writer.append(UInt8(3))
            writer.append(configuration)
        }
        return writer.bytes
    }

    /// - Throws: ``EngineError`` (`damagedJournal`).
    init(encoded bytes: [UInt8]) throws(EngineError) {
        var reader = ByteReader(bytes)
        func refuse(_ message: String) -> EngineError { EngineError(.damagedJournal, "replay", message) }
        func found<Value>(_ value: Value?) throws(EngineError) -> Value {
            guard let value else { throw refuse("an entry ends too early") }
            return value
        }
        guard try found(reader.take(UInt8.self)) == Self.format else {
            throw refuse("an entry has a format that this version of Attune does not know")
        }
        let number: UInt8 = try found(reader.take())
        configuration = try found(reader.take())
        switch number {
        case 0:
            let flags = Flags(rawValue: try found(reader.take()))
            guard Flags.all.isSuperset(of: flags) else { throw refuse("an entry has flags that are unknown") }
            let rate = try found(reader.takeDouble())
            let threshold = try found(reader.takeDouble())
            let strength = try found(reader.takeFloat())
            let steps = try found(reader.takeShort())
            var start: Start?
            if flags.contains(.start) {
                start = Start(
                    prior: flags.contains(.prior) ? try found(reader.take(UInt64.self)) : nil,
                    relearns: flags.contains(.relearns))
            }
            let count = try found(reader.takeShort())
            guard count <= UInt64(reader.remaining / 8) else { throw refuse("an entry ends too early") }
            var catalogues: [UInt64] = []
            for _ in 0..<count { catalogues.append(try found(reader.take())) }
            kind = .update(
                Update(
                    overrides: UpdateOverrides(
                        learningRate: flags.contains(.learningRate) ? Float(rate) : nil,
                        clipThreshold: flags.contains(.clipThreshold) ? Float(threshold) : nil,
                        consolidationStrength: flags.contains(.consolidationStrength) ? strength : nil),
                    learningRate: rate, clipThreshold: threshold, consolidationStrength: strength, steps: steps,
                    start: start, catalogues: catalogues,
                    feedback: Array(bytes.suffix(reader.remaining))))
            return
        case 1:
            let flags: UInt8 = try found(reader.take())
            guard flags <= 3 else { throw refuse("an entry has flags that are unknown") }
            let prior = flags & 1 == 1 ? try found(reader.take(UInt64.self)) : nil
            kind = .create(Start(prior: prior, relearns: flags & 2 == 2))
        case 2: kind = .consolidate
        case 3: kind = .correction
        default: throw refuse("an entry of kind \(number) is unknown")
        }
        guard reader.remaining == 0 else { throw refuse("an entry has \(reader.remaining) bytes too many") }
    }
}

/// The settings under which entries were made: everything beside them that a replay depends on.
struct JournalConfiguration: Sendable {
    var shape: AdapterShape
    var seed: UInt64
    var embeddingModel: String
    var update: UpdateConfiguration

    private static let format: UInt8 = 1

    func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: 256)
        writer.append(Self.format)
        writer.append(Numerics.version)
        writer.append(UInt32(shape.dimension))
        writer.append(UInt16(shape.rank))
        writer.append(shape.alpha)
        writer.append(UInt8(shape.scaling == .rankStabilized ? 1 : 0))
        writer.append(UInt8(shape.hasBias ? 1 : 0))
        writer.append(UInt8(shape.normalizesOutput ? 1 : 0))
        writer.append(seed)
        writer.append(embeddingModel)
        writer.append(bytes: update.encoded())
        return writer.bytes
    }

    /// - Throws: ``EngineError`` (`damagedJournal`; `numericsMismatch` where the rules of arithmetic are others).
    init(encoded bytes: [UInt8]) throws {
        var reader = ByteReader(bytes)
        func refuse(_ message: String, _ cause: (any Error)? = nil) -> EngineError {
            EngineError(.damagedJournal, "replay", message, cause: cause)
        }
        func found<Value>(_ value: Value?) throws(EngineError) -> Value {
            guard let value else { throw refuse("a configuration ends too early") }
            return value
        }
        guard try found(reader.take(UInt8.self)) == Self.format else {
            throw refuse("a configuration has a format that this version of Attune does not know")
        }
        let numerics: UInt32 = try found(reader.take())
        guard numerics == Numerics.version else {
            throw EngineError(
                .numericsMismatch, "replay",
                "entries were made under version \(numerics) of the numerics, and this version of Attune replays "
                    + "\(Numerics.version): make a checkpoint with the version that made them, then trim the journal")
        }
        let dimension: UInt32 = try found(reader.take())
        let rank: UInt16 = try found(reader.take())
        let alpha = try found(reader.takeFloat())
        let flags = (
            try found(reader.take(UInt8.self)), try found(reader.take(UInt8.self)), try found(reader.take(UInt8.self))
        )
        seed = try found(reader.take())
        embeddingModel = try found(reader.takeText(limit: 1024))
        do {
            shape = try AdapterShape(
                dimension: Int(dimension), rank: Int(rank), alpha: alpha,
                scaling: flags.0 == 1 ? .rankStabilized : .standard, hasBias: flags.1 == 1,
                normalizesOutput: flags.2 == 1)
            update = try UpdateConfiguration(encoded: Array(bytes.suffix(reader.remaining)))
            try update.validate(for: shape)
        } catch {
            throw refuse("a configuration is impossible", error)
        }
    }

    init(shape: AdapterShape, seed: UInt64, embeddingModel: String, update: UpdateConfiguration) {
        self.shape = shape
        self.seed = seed
        self.embeddingModel = embeddingModel
        self.update = update
    }
}
