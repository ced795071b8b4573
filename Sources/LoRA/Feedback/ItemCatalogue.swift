public import TensorCore

/// The items that feedback refers to by index: their embeddings, and an offset that is added to each item's score.
///
/// A value over shared immutable storage: passing it on copies two references. Finite by construction.
public struct ItemCatalogue: Sendable {
    /// The items' embeddings, shape `[count, dimension]`.
    public let vectors: Matrix<Float>
    /// The weight κ of log(1 + popularity) that suits the default settings for likes. Learning makes personalized embeddings
    /// longer, so it is larger than the κ that ranks best without it.
    public static let defaultPopularityWeight: Float = 0.3

    /// What is added to each item's score `y·v`; zeros when none were given. `[count]`.
    public let offsets: Vector<Float>
    /// The largest Euclidean norm of an item.
    package let largestNorm: Float
    /// A hash of the items' numbers and offsets: the catalogue's name in a journal.
    public let contentHash: UInt64

    /// The number of items.
    public var count: Int { vectors.rows }
    /// The number of values of an embedding.
    public var dimension: Int { vectors.columns }

    /// Checks and keeps a catalogue.
    ///
    /// - Parameters:
    ///   - vectors: One row an item, shape `[count, dimension]`, at least one row and one column.
    ///   - offsets: One number an item, or `nil` for zeros.
    /// - Throws: ``LoRAError``: `shapeMismatch` when counts disagree or nothing is there; `nonFinite` naming the first bad item.
    /// - Complexity: O(count · dimension).
    public init(vectors: Matrix<Float>, offsets: [Float]? = nil) throws(LoRAError) {
        guard vectors.rows > 0, vectors.columns > 0 else {
            throw LoRAError(.shapeMismatch, "catalogue", "no items, or items without values")
        }
        if let offsets, offsets.count != vectors.rows {
            throw LoRAError(
                .shapeMismatch, "catalogue", "\(offsets.count) offsets for \(vectors.rows) items: give one for each")
        }
        var largest: Float = 0
        for i in 0..<vectors.rows {
            let squared = vectors.withRow(i) { $0.withBuffer { Kernels.squaredNorm($0) } }
            guard squared.isFinite else {
                throw LoRAError(.nonFinite, "catalogue", "item \(i) holds a NaN, an infinity or a huge value")
            }
            largest = max(largest, squared)
            if let offset = offsets?[i], !offset.isFinite {
                throw LoRAError(.nonFinite, "catalogue", "the offset of item \(i) is \(offset)")
            }
        }
        self.vectors = vectors
        let offsets = offsets.map { Vector($0) } ?? Vector(count: vectors.rows)
        self.offsets = offsets
        contentHash = vectors.withSpan { items in
            items.withBuffer { items in
                let hash = Checksum.of(items, seed: UInt64(vectors.rows))
                return offsets.withSpan { $0.withBuffer { Checksum.of($0, seed: hash) } }
            }
        }
        largestNorm = largest.squareRoot()
    }
}

extension ItemCatalogue {
    /// A catalogue whose offsets are `weight · log(1 + popularity)`.
    ///
    /// - Parameters:
    ///   - vectors: One row an item, shape `[count, dimension]`; of length 1 for the default settings.
    ///   - popularity: How often each item was liked, `[count]`, each 0 or more.
    ///   - weight: κ.
    /// - Throws: ``LoRAError`` as ``init(vectors:offsets:)``, and `invalidFeedback` naming the first negative popularity.
    public init(
        vectors: Matrix<Float>, popularity: [Float], weight: Float = defaultPopularityWeight
    ) throws(LoRAError) {
        if let bad = popularity.firstIndex(where: { !($0 >= 0) }) {
            throw LoRAError(.invalidFeedback, "catalogue", "the popularity of item \(bad) is \(popularity[bad])")
        }
        try self.init(
            vectors: vectors, offsets: popularity.map { weight * Float(Elementary.log1p(Double($0))) })
    }
}

/// An item that feedback is about: a vector of its own, or a row of a catalogue.
public enum Item: Sendable {
    /// An embedding `[dimension]` and the offset added to its score.
    case vector([Float], offset: Float = 0)
    /// Row `index` of a catalogue.
    case catalogued(Int, ItemCatalogue)
}
