public import TensorCore

/// What keys an adapter's random numbers: its initial A and the negatives it is contrasted with.
public struct AdapterIdentity: Sendable, Hashable {
    /// The engine's seed.
    public let seed: UInt64
    /// The adapter's own stream, usually a stable hash of the user id.
    public let stream: UInt64

    /// An identity from its two parts.
    public init(seed: UInt64, stream: UInt64) {
        self.seed = seed
        self.stream = stream
    }

    /// The identity of a user's adapter under a seed: the stream is a hash of the id that is stable across machines.
    public init(seed: UInt64, user: String) { self.init(seed: seed, stream: StableHash.hash(user)) }
}

/// One user's low-rank map of embeddings, and the state by which it learns.
///
/// ```text
/// y = x + scale · Bᵀ·(A·x) + b
/// ```
///
/// A value: a copy shares memory until one of the two is updated. Optimizer state and protection take memory only once an
/// update uses them; ``byteCount`` says what is held.
///
/// **Numerics.** Float32; sums in 16 lanes with fused multiply-add in a fixed order, so the same updates give the same bytes
/// on every machine.
public struct LoRAAdapter: Sendable {
    /// The shape and the constants of the map.
    public let shape: AdapterShape
    /// A bound of the magnitudes of the parameters and of what they are drawn to; infinite where none is known. It follows from
    /// them and is no part of the state.
    package var magnitude = Float.infinity
    /// The key of the adapter's random numbers.
    public let identity: AdapterIdentity
    /// Rises by one with every update and every ``consolidate()``.
    public package(set) var version: UInt64 = 0
    /// The updates that were applied: what schedules and samplers count.
    public package(set) var steps: UInt64 = 0
    /// The name (``AdapterPrior/contentHash``) of the prior that the adapter started from; `nil` for a cold start.
    public var startedFrom: UInt64? { start?.prior }

    /// A `[rank, dimension]`, then B transposed `[rank, dimension]`, then b `[dimension]` when there is one.
    package var parameters: AlignedStorage<Float> {
        get { memory.storage }
        set { memory = ParameterMemory(newValue) }
    }
    var memory: ParameterMemory
    /// What only some adapters have.
    var extras: AdapterExtras?

    /// A cold start: A uniform in ±√(6 / (dimension + rank)), B and b zero, so that the map is the identity.
    ///
    /// - Parameters:
    ///   - shape: The adapter's shape.
    ///   - identity: Keys the random numbers: the same identity and shape give the same bytes.
    /// - Complexity: O(rank · dimension).
    public init(shape: AdapterShape, identity: AdapterIdentity) {
        self.shape = shape
        self.identity = identity
        memory = ParameterMemory(AlignedStorage(count: shape.parameterCount, in: .shared))
        var generator = PhiloxGenerator(seed: identity.seed, stream: identity.stream, purpose: .initialization)
        let bound = shape.coldBound
        parameters.withBuffer { all in
            let a = all.slice(shape.downRange)
            for i in 0..<a.count { a[i] = (2 * generator.uniformFloat() - 1) * bound }
        }
    }

    /// An adapter from given factors, for example read from a file.
    ///
    /// - Parameters:
    ///   - shape: The adapter's shape.
    ///   - identity: The key of its random numbers.
    ///   - down: The factor A, shape `[rank, dimension]`.
    ///   - up: The factor B, stored transposed, shape `[rank, dimension]`.
    ///   - bias: The bias `[dimension]`, given exactly when the shape has one.
    ///   - version: The version that it starts with.
    ///   - steps: The updates that it counts as having had.
    /// - Throws: ``LoRAError`` (`shapeMismatch`, `nonFinite`) naming the factor; `invalidConfiguration` for a version or steps
    ///   of 2⁶² or more.
    public init(
        shape: AdapterShape, identity: AdapterIdentity, down: Matrix<Float>, up: Matrix<Float>,
        bias: [Float]? = nil, version: UInt64 = 0, steps: UInt64 = 0
    ) throws(LoRAError) {
        for (name, factor) in [("A", down), ("B transposed", up)] {
            guard factor.rows == shape.rank, factor.columns == shape.dimension else {
                throw LoRAError(
                    .shapeMismatch, "adapter",
                    "\(name) is [\(factor.rows), \(factor.columns)] where [\(shape.rank), \(shape.dimension)] is needed"
                )
            }
        }
        guard (bias != nil) == shape.hasBias, bias?.count ?? shape.dimension == shape.dimension else {
            throw LoRAError(
                .shapeMismatch, "adapter",
                "a bias of \(bias?.count ?? 0) values where \(shape.hasBias ? shape.dimension : 0) are needed")
        }
        guard version < Self.counterLimit, steps < Self.counterLimit else {
            throw LoRAError(.invalidConfiguration, "adapter", "version \(version) or steps \(steps) is 2^62 or more")
        }
        self.shape = shape
        self.identity = identity
        self.version = version
        self.steps = steps
        memory = ParameterMemory(AlignedStorage(count: shape.parameterCount, in: .shared))
        parameters.withBuffer { all in
            down.withSpan { all.slice(shape.downRange).copy(from: $0) }
            up.withSpan { all.slice(shape.upRange).copy(from: $0) }
            if let bias { all.slice(shape.biasRange).copy(from: bias.span) }
        }
        guard parameters.withBuffer({ Kernels.allFinite($0) }) else {
            throw LoRAError(.nonFinite, "adapter", "A, B or the bias holds a NaN or an infinity")
        }
    }
}

extension LoRAAdapter {
    /// Versions and steps start below this, so that counting them up never overflows.
    static var counterLimit: UInt64 { 1 << 62 }

    /// An adapter of parts that were checked.
    init(
        shape: AdapterShape, identity: AdapterIdentity, version: UInt64, steps: UInt64,
        parameters: AlignedStorage<Float>
    ) {
        self.shape = shape
        self.identity = identity
        self.version = version
        self.steps = steps
        memory = ParameterMemory(parameters)
    }
}

extension AdapterShape {
    /// The map with these parameters.
    package func map(_ all: FloatBuffer) -> AdapterMap {
        AdapterMap(all, rank: rank, dimension: dimension, hasBias: hasBias, scale: scale)
    }

    package var downRange: Range<Int> { 0..<(rank * dimension) }
    package var upRange: Range<Int> { (rank * dimension)..<(2 * rank * dimension) }
    package var biasRange: Range<Int> { (2 * rank * dimension)..<parameterCount }
    /// Checks an embedding's length and that it is finite.
    package func check(_ x: Span<Float>, _ operation: String) throws(LoRAError) {
        guard x.count == dimension else {
            throw .length("the embedding", operation, expected: dimension, actual: x.count)
        }
        guard x.withBuffer({ Kernels.allFinite($0) }) else {
            let index = x.indices.first { !x[$0].isFinite } ?? 0
            throw LoRAError(.nonFinite, operation, "the embedding's value \(index) is \(x[index])")
        }
    }

    /// The bound of a cold A: Glorot's uniform.
    package var coldBound: Float { (6 / Float(dimension + rank)).squareRoot() }
}

// MARK: - Reading the parameters

extension LoRAAdapter {
    /// The factor A, shape `[rank, dimension]`.
    public var down: Matrix<Float> { matrix(shape.downRange) }
    /// The factor B, stored transposed, shape `[rank, dimension]`.
    public var up: Matrix<Float> { matrix(shape.upRange) }
    /// The bias, `[dimension]`, when the shape has one.
    public var bias: [Float]? {
        shape.hasBias ? parameters.withBuffer { $0.slice(shape.biasRange).array } : nil
    }

    /// The Frobenius norm of the low-rank product `scale · B·A`: how far the map is from the identity.
    ///
    /// - Complexity: O(rank² · dimension): ‖BA‖² = Σ (AAᵀ ∘ BᵀB).
    public var productNorm: Double {
        let a = down
        let b = up
        var sum = 0.0
        for k in 0..<shape.rank {
            for l in 0..<shape.rank {
                sum += Double(Self.dot(a, k, a, l)) * Double(Self.dot(b, k, b, l))
            }
        }
        return Double(shape.scale) * max(0, sum).squareRoot()
    }

    /// The bytes on the heap that this adapter holds: parameters, optimizer state, protection.
    public var byteCount: Int {
        AlignedStorage<Float>.byteCount(for: parameters.count)
            + (optimizerState.map { AlignedStorage<Float>.byteCount(for: $0.storage.count) } ?? 0)
            + (protection.map { AlignedStorage<Float>.byteCount(for: $0.storage.count) } ?? 0)
            + (experts?.frozen.map { AlignedStorage<Float>.byteCount(for: $0.count) } ?? 0)
    }

    /// A hash of shape, parameters and all state, for telling whether two adapters are bit-identical.
    ///
    /// Stable across machines and runs. Not cryptographic.
    public var stateHash: UInt64 {
        var hash = StableHash()
        for number in [shape.dimension, shape.rank, shape.hasBias ? 1 : 0, shape.normalizesOutput ? 1 : 0] {
            hash.combine(UInt64(number))
        }
        hash.combine(UInt64(shape.scale.bitPattern))
        hash.combine(identity.seed)
        hash.combine(identity.stream)
        hash.combine(version)
        hash.combine(steps)
        if let startedFrom { hash.combine(startedFrom) }
        hash.combine(parameters)
        if let optimizerState { optimizerState.combine(into: &hash) }
        if let protection { protection.combine(into: &hash) }
        if let plateau {
            hash.combine(plateau.best.bitPattern)
            hash.combine(plateau.factor.bitPattern)
            hash.combine(UInt64(plateau.badSteps))
            hash.combine(UInt64(plateau.cooldown))
        }
        experts?.combine(into: &hash)
        return hash.finalized()
    }

    private func matrix(_ range: Range<Int>) -> Matrix<Float> {
        var result = Matrix<Float>(rows: shape.rank, columns: shape.dimension)
        parameters.withBuffer { all in
            let part = all.slice(range)
            result.withMutableSpan { span in for i in span.indices { span[i] = part[i] } }
        }
        return result
    }

    private static func dot(_ a: Matrix<Float>, _ i: Int, _ b: Matrix<Float>, _ j: Int) -> Float {
        a.withRow(i) { left in
            b.withRow(j) { right in left.withBuffer { l in right.withBuffer { Kernels.dot(l, $0) } } }
        }
    }
}

extension StableHash {
    package mutating func combine(_ storage: AlignedStorage<Float>) {
        storage.withBuffer { buffer in for i in 0..<buffer.count { combine(UInt64(buffer[i].bitPattern)) } }
    }
}
