internal import TensorCore

// An adapter with all its state as bytes. The format, with every field, is in docs/formats.md.

/// What marks the bytes as a snapshot, and of which kind.
private enum SnapshotFormat {
    /// "ATTUNEAD" as bytes.
    static let magic: UInt64 = 0x4441_454E_5554_5441
    static let version: UInt32 = 1

    /// What an adapter has; the bits of one byte.
    struct Parts: OptionSet {
        let rawValue: UInt8
        static let bias = Parts(rawValue: 1 << 0)
        static let normalizesOutput = Parts(rawValue: 1 << 1)
        static let rankStabilized = Parts(rawValue: 1 << 2)
        static let start = Parts(rawValue: 1 << 3)
        static let optimizer = Parts(rawValue: 1 << 4)
        static let protection = Parts(rawValue: 1 << 5)
        static let plateau = Parts(rawValue: 1 << 6)
        static let experts = Parts(rawValue: 1 << 7)
    }
}

extension LoRAAdapter {
    /// The adapter with all its state: parameters, counts, optimizer, protection, schedule, and what it started from.
    ///
    /// ``init(snapshot:)`` gives an adapter that goes on learning to the bit as this one does. The bytes are the same on every
    /// machine and carry a checksum.
    ///
    /// - Complexity: O(``byteCount``).
    public func snapshot() -> [UInt8] {
        let (start, optimizer, protection, plateau) = (start, optimizerState, protection, plateau)
        var parts: SnapshotFormat.Parts = []
        if shape.hasBias { parts.insert(.bias) }
        if shape.normalizesOutput { parts.insert(.normalizesOutput) }
        if shape.scaling == .rankStabilized { parts.insert(.rankStabilized) }
        if start != nil { parts.insert(.start) }
        if optimizer != nil { parts.insert(.optimizer) }
        if protection != nil { parts.insert(.protection) }
        if plateau != nil { parts.insert(.plateau) }
        let experts = experts
        if experts != nil { parts.insert(.experts) }

        let floats =
            parameters.count + (start?.parameters.count ?? 0) + (optimizer?.storage.count ?? 0)
            + (protection?.storage.count ?? 0) + (experts?.frozen?.count ?? 0)
        var writer = ByteWriter(capacity: 160 + 4 * floats)
        writer.append(SnapshotFormat.magic)
        writer.append(SnapshotFormat.version)
        writer.append(Numerics.version)
        writer.append(UInt32(shape.dimension))
        writer.append(UInt16(shape.rank))
        writer.append(parts.rawValue)
        writer.append(UInt8(0))
        writer.append(shape.alpha)
        writer.append(UInt32(0))
        for number in [identity.seed, identity.stream, version, steps] { writer.append(number) }
        writer.append(parameters)
        if let start {
            writer.append(start.prior)
            writer.append(UInt64(start.rows))
            writer.append(start.parameters)
        }
        if let optimizer {
            writer.append(UInt64(optimizer.kind.rawValue))
            writer.append(optimizer.steps)
            writer.append(optimizer.distance)
            writer.append(optimizer.squaredGradients)
            writer.append(optimizer.storage)
        }
        if let protection {
            writer.append(protection.accumulated)
            writer.append(protection.storage)
        }
        if let plateau {
            writer.append(plateau.best)
            writer.append(plateau.factor)
            writer.append(UInt64(plateau.badSteps))
            writer.append(UInt64(plateau.cooldown))
        }
        if let experts {
            for number in [experts.logNone, experts.logActive, experts.logFrozen] { writer.append(number) }
            writer.append(experts.test.count)
            for number in [experts.test.mean, experts.test.sum, experts.test.lowest] { writer.append(number) }
            writer.append(experts.forks)
            writer.append(UInt64(experts.frozen == nil ? 0 : 1))
            if let frozen = experts.frozen { writer.append(frozen) }
        }
        writer.append(Checksum.of(writer.bytes[...]))
        return writer.bytes
    }

    /// The adapter that ``snapshot()`` was taken of. Everything is checked; nothing in the bytes is trusted.
    ///
    /// - Throws: ``LoRAError``: `malformedSnapshot` for bytes that are no snapshot, damaged, or say something impossible;
    ///   `unsupported` for a newer format or other ``Numerics``.
    /// - Complexity: O(bytes).
    public init(snapshot bytes: [UInt8]) throws(LoRAError) {
        var reader = SnapshotReader(bytes)
        self = try reader.adapter()
    }
}

/// Takes a snapshot apart.
private struct SnapshotReader {
    private let bytes: [UInt8]
    private var reader: ByteReader
    private var parts: SnapshotFormat.Parts = []

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
        reader = ByteReader(bytes)
    }

    private static func refuse(_ message: String) -> LoRAError {
        LoRAError(.malformedSnapshot, "adapter from a snapshot", message)
    }

    private static func found<Value>(_ value: Value?) throws(LoRAError) -> Value {
        guard let value else { throw refuse("the bytes end too early: they were cut") }
        return value
    }

    private static func check(_ holds: Bool, _ message: @autoclosure () -> String) throws(LoRAError) {
        guard holds else { throw refuse(message()) }
    }

    private mutating func number() throws(LoRAError) -> UInt64 { try Self.found(reader.take()) }

    /// A number that is finite and not negative.
    private mutating func amount(_ what: String) throws(LoRAError) -> Double {
        let value = try Self.found(reader.takeDouble())
        try Self.check(value >= 0 && value.isFinite, "\(what) is \(value)")
        return value
    }

    /// A count, far from overflowing.
    private mutating func count(_ what: String, below limit: UInt64) throws(LoRAError) -> UInt64 {
        let value = try number()
        try Self.check(value < limit, "\(what) is \(value), \(limit) or more")
        return value
    }

    private mutating func floats(
        _ count: Int, _ what: String, in slabs: SlabAllocator?
    ) throws(LoRAError) -> AlignedStorage<Float> {
        let values = try Self.found(reader.takeFloats(count, in: slabs))
        try Self.check(values.withBuffer { Kernels.allFinite($0) }, "\(what): a number is NaN or infinite")
        return values
    }

    mutating func adapter() throws(LoRAError) -> LoRAAdapter {
        let shape = try header()
        let identity = AdapterIdentity(seed: try number(), stream: try number())
        let limit = LoRAAdapter.counterLimit
        let (version, steps) = (try count("the version", below: limit), try count("the steps", below: limit))
        var adapter = LoRAAdapter(
            shape: shape, identity: identity, version: version, steps: steps,
            parameters: try floats(shape.parameterCount, "the parameters", in: .shared))
        if parts.contains(.start) { adapter.start = try start(shape) }
        if parts.contains(.optimizer) { adapter.optimizerState = try optimizer(shape) }
        if parts.contains(.protection) { adapter.protection = try protection(shape) }
        if parts.contains(.plateau) { adapter.plateau = try plateau() }
        if parts.contains(.experts) { adapter.experts = try experts(shape) }
        try Self.check(reader.remaining == 8, "\(reader.remaining - 8) bytes more than an adapter takes")
        return adapter
    }

    /// Checks the frame around everything; the shape.
    private mutating func header() throws(LoRAError) -> AdapterShape {
        guard let magic = reader.take(UInt64.self), magic == SnapshotFormat.magic else {
            throw Self.refuse("not an adapter's snapshot: the first 8 bytes are other ones")
        }
        // The version comes first: what follows, the checksum too, may be elsewhere in another one.
        let format: UInt32 = try Self.found(reader.take())
        guard format == SnapshotFormat.version else {
            throw LoRAError(
                .unsupported, "adapter from a snapshot",
                "format version \(format); this version of Attune reads \(SnapshotFormat.version)")
        }
        var sum = ByteReader(bytes.suffix(8))
        guard let written = sum.take(UInt64.self), Checksum.of(bytes.dropLast(8)) == written else {
            throw Self.refuse("the checksum does not match: the bytes were damaged or cut")
        }

        let numerics: UInt32 = try Self.found(reader.take())
        guard numerics == Numerics.version else {
            throw LoRAError(
                .unsupported, "adapter from a snapshot",
                "learned under version \(numerics) of the numerics; this version of Attune goes on with \(Numerics.version)"
            )
        }
        let (dimension, rank) = (try Self.found(reader.take(UInt32.self)), try Self.found(reader.take(UInt16.self)))
        parts = SnapshotFormat.Parts(rawValue: try Self.found(reader.take()))
        let padding: UInt8 = try Self.found(reader.take())
        let alpha = try Self.found(reader.takeFloat())
        let morePadding: UInt32 = try Self.found(reader.take())
        try Self.check(padding == 0 && morePadding == 0, "what is always zero is not")
        do throws(LoRAError) {
            return try AdapterShape(
                dimension: Int(dimension), rank: Int(rank), alpha: alpha,
                scaling: parts.contains(.rankStabilized) ? .rankStabilized : .standard,
                hasBias: parts.contains(.bias), normalizesOutput: parts.contains(.normalizesOutput))
        } catch {
            throw Self.refuse(error.message)
        }
    }

    private mutating func start(_ shape: AdapterShape) throws(LoRAError) -> WarmStart {
        let prior = try number()
        let rows = try count("the rows of the start", below: UInt64(shape.rank) + 1)
        return WarmStart(
            prior: prior, shape: shape, parameters: try floats(shape.parameterCount, "the start", in: nil),
            rows: Int(rows))
    }

    private mutating func optimizer(_ shape: AdapterShape) throws(LoRAError) -> OptimizerState {
        let number = try number()
        guard let kind = UInt8(exactly: number).flatMap(OptimizerState.Kind.init(rawValue:)) else {
            throw Self.refuse("the optimizer is of no kind that is known (\(number))")
        }
        let steps = try count("the optimizer's steps", below: LoRAAdapter.counterLimit)
        let (distance, squares) = (try amount("the optimizer's distance"), try amount("its sum of squared gradients"))
        let n = shape.parameterCount
        let storage = try floats(kind.countPerParameter * n, "the optimizer's state", in: .shared)
        let squared: Range<Int>? =
            switch kind {
            case .adaGrad: 0..<n
            case .adam, .adamW: n..<(2 * n)
            case .momentum, .doG: nil
            }
        if let squared {
            try Self.check(
                storage.withBuffer { $0.slice(squared).array.allSatisfy { $0 >= 0 } },
                "the optimizer's mean of squares: a number is negative")
        }
        return OptimizerState(
            kind: kind, steps: steps, storage: storage, distance: distance, squaredGradients: squares)
    }

    private mutating func protection(_ shape: AdapterShape) throws(LoRAError) -> ProtectionState {
        let accumulated = try count("the accumulated updates", below: LoRAAdapter.counterLimit)
        let n = shape.parameterCount
        let storage = try floats(3 * n, "the protection", in: .shared)
        try Self.check(
            storage.withBuffer { $0.slice(n..<(3 * n)).array.allSatisfy { $0 >= 0 } },
            "the Fisher information: a number is negative")
        return ProtectionState(storage: storage, accumulated: accumulated)
    }

    private mutating func experts(_ shape: AdapterShape) throws(LoRAError) -> Experts {
        func weight() throws(LoRAError) -> Double {
            let value = try Self.found(reader.takeDouble())
            // Of none it is −∞; the largest is 0.
            try Self.check(value <= 0, "the logarithm of a weight is \(value)")
            return value
        }
        let (none, active, frozen) = (try weight(), try weight(), try weight())
        try Self.check(
            max(none, active, frozen) == 0 && active > -.infinity
                && [none, active, frozen].allSatisfy { $0 == -.infinity || $0 >= -1e12 },
            "the weights of reads are impossible")
        var test = PageHinkley()
        test.count = try count("the drift test's updates", below: 1 << 62)
        (test.mean, test.sum, test.lowest) = (
            try Self.found(reader.takeDouble()), try Self.found(reader.takeDouble()),
            try Self.found(reader.takeDouble())
        )
        // No loss differs by more than 1000, and no tolerance is above 100.
        let most = 3000 * Double(test.count)
        try Self.check(
            abs(test.mean) <= 1000 && abs(test.sum) <= most && test.lowest >= -most
                && test.lowest <= min(0, test.sum),
            "the drift test's sums are impossible")
        let forks = try count("the changes of taste", below: 1 << 62)
        let hasFrozen = try count("whether an adapter is set aside", below: 2) == 1
        try Self.check(
            hasFrozen == (frozen > -.infinity), "an adapter that is set aside has no weight, or none has one")
        return Experts(
            logNone: none, logActive: active, logFrozen: frozen, test: test, forks: forks,
            frozen: hasFrozen ? try floats(shape.parameterCount, "the adapter that is set aside", in: .shared) : nil)
    }

    private mutating func plateau() throws(LoRAError) -> PlateauState {
        var state = PlateauState()
        state.best = try Self.found(reader.takeDouble())
        state.factor = try amount("the plateau's factor")
        // Infinite before the first loss.
        try Self.check(!state.best.isNaN && state.factor <= 1, "the plateau's best loss or factor is impossible")
        state.badSteps = Int(try count("the plateau's bad steps", below: 1 << 62))
        state.cooldown = Int(try count("the plateau's pause", below: 1 << 62))
        return state
    }
}
