/// The shape of an adapter and the fixed constants of its map: everything about it that no update changes.
///
/// ```text
/// y = x + scale · Bᵀ·(A·x) + b          A [rank, dimension], B stored transposed [rank, dimension], b [dimension]
/// ```
///
/// **Source.** Hu et al. 2021, *LoRA*, §4.1, [arXiv:2106.09685](https://arxiv.org/abs/2106.09685); rank-stabilised scaling:
/// Kalajdzievski 2023, §3, [arXiv:2312.03732](https://arxiv.org/abs/2312.03732).
public struct AdapterShape: Hashable, Sendable {
    /// How `alpha` becomes the scale of the low-rank term.
    public enum Scaling: String, Hashable, Sendable, CaseIterable, Codable {
        /// `alpha / rank`, as in the LoRA paper.
        case standard
        /// `alpha / √rank`, which keeps the size of an update independent of the rank.
        case rankStabilized
    }

    /// The dimensions that are supported.
    public static let dimensions = 1...65_536
    /// The highest rank that is supported; a rank also never exceeds the dimension.
    public static let highestRank = 256

    // Small numbers in few bytes: every adapter carries its shape.
    @usableFromInline
    let storedDimension: Int32
    @usableFromInline
    let storedRank: Int16
    /// The number of values of an embedding.
    @inlinable
    public var dimension: Int { Int(storedDimension) }
    /// The number of rows of A and B.
    @inlinable
    public var rank: Int { Int(storedRank) }
    /// The numerator of the scale.
    public let alpha: Float
    /// How `alpha` becomes the scale.
    public let scaling: Scaling
    /// Whether a bias vector b is learned beside the factors.
    public let hasBias: Bool
    /// Whether the output is divided by its Euclidean norm (and gradients pass through that division).
    public let normalizesOutput: Bool
    /// The dimensionless factor of the low-rank term: `alpha / rank` or `alpha / √rank`.
    public let scale: Float

    /// Describes adapters of one shape.
    ///
    /// - Parameters:
    ///   - dimension: Values of an embedding, 1...65,536.
    ///   - rank: 1...256 and at most `dimension`.
    ///   - alpha: Numerator of the scale; `rank` when not given, so that the standard scale is 1.
    ///   - scaling: How `alpha` becomes the scale.
    ///   - hasBias: Whether a bias vector is learned too.
    ///   - normalizesOutput: Whether outputs are divided by their norm.
    /// - Throws: ``LoRAError`` (`invalidShape`) naming the value and its range.
    public init(
        dimension: Int, rank: Int, alpha: Float? = nil, scaling: Scaling = .standard, hasBias: Bool = false,
        normalizesOutput: Bool = false
    ) throws(LoRAError) {
        guard Self.dimensions.contains(dimension) else {
            throw LoRAError(.invalidShape, "shape", "dimension \(dimension) is not in 1...65536")
        }
        guard rank >= 1, rank <= min(Self.highestRank, dimension) else {
            throw LoRAError(
                .invalidShape, "shape",
                "rank \(rank) is not in 1...\(min(Self.highestRank, dimension)) (dimension \(dimension))")
        }
        let alpha = alpha ?? Float(rank)
        guard alpha.isFinite, alpha > 0, alpha <= 65_536 else {
            throw LoRAError(.invalidShape, "shape", "alpha \(alpha) is not above 0 and at most 65536")
        }
        storedDimension = Int32(dimension)
        storedRank = Int16(rank)
        self.alpha = alpha
        self.scaling = scaling
        self.hasBias = hasBias
        self.normalizesOutput = normalizesOutput
        scale = scaling == .standard ? alpha / Float(rank) : alpha / Float(rank).squareRoot()
    }

    /// The learned numbers: `2 · rank · dimension`, and `dimension` more with a bias.
    public var parameterCount: Int { 2 * rank * dimension + (hasBias ? dimension : 0) }
}
