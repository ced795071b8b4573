internal import TensorCore

// What journal entries name by the hash of its content, as bytes: catalogues and priors. The formats are in docs/formats.md.

extension ItemCatalogue {
    /// The catalogue as bytes.
    ///
    /// - Complexity: O(count · dimension).
    package func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: 16 + 4 * count * (dimension + 1))
        writer.append(UInt32(count))
        writer.append(UInt32(dimension))
        vectors.withSpan { $0.withBuffer { writer.append($0) } }
        offsets.withSpan { $0.withBuffer { writer.append($0) } }
        return writer.bytes
    }

    /// The catalogue that ``encoded()`` gave the bytes of.
    ///
    /// - Throws: ``LoRAError``: `malformedSnapshot`, and what ``init(vectors:offsets:)`` throws.
    package init(encoded bytes: [UInt8]) throws(LoRAError) {
        var reader = ContentReader(bytes, of: "catalogue from a journal")
        let (count, dimension) = (Int(try reader.word()), Int(try reader.word()))
        // Compared before anything is allocated.
        guard dimension <= 65_536, reader.remaining == 4 * count * (dimension + 1) else {
            throw reader.refuse("\(reader.remaining) bytes for \(count) items of \(dimension) values")
        }
        let values = try reader.floats(count * dimension)
        let offsets = try reader.floats(count)
        var vectors = Matrix<Float>(rows: count, columns: dimension)
        vectors.withMutableSpan { span in
            for i in span.indices { span[i] = values[i] }
        }
        try self.init(vectors: vectors, offsets: offsets)
    }
}

extension AdapterPrior {
    /// The prior as bytes.
    ///
    /// - Complexity: O(rank · dimension).
    package func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: 64 + 4 * (2 * rank + 1) * dimension)
        writer.append(UInt32(dimension))
        writer.append(UInt32(rank))
        for vector in [singularValues, bias] + left + right { vector.span.withBuffer { writer.append($0) } }
        writer.append(discardedTail)
        writer.append(shrinkage)
        writer.append(UInt64(donors))
        return writer.bytes
    }

    /// The prior that ``encoded()`` gave the bytes of.
    ///
    /// - Throws: ``LoRAError`` (`malformedSnapshot`).
    package init(encoded bytes: [UInt8]) throws(LoRAError) {
        var reader = ContentReader(bytes, of: "prior from a journal")
        let (dimension, rank) = (Int(try reader.word()), Int(try reader.word()))
        guard dimension <= 65_536, rank <= 256, reader.remaining == 4 * (rank + (2 * rank + 1) * dimension) + 24 else {
            throw reader.refuse("\(reader.remaining) bytes for a prior of dimension \(dimension), rank \(rank)")
        }
        let (singularValues, bias) = (try reader.floats(rank), try reader.floats(dimension))
        var rows: [[Float]] = []
        for _ in 0..<(2 * rank) { rows.append(try reader.floats(dimension)) }
        let (tail, shrinkage) = (try reader.double(), try reader.double())
        guard let donors = Int(exactly: try reader.number()), tail.isFinite, shrinkage.isFinite else {
            throw reader.refuse("a number is NaN, infinite or huge")
        }
        self.init(
            dimension: dimension, left: Array(rows[..<rank]), right: Array(rows[rank...]),
            singularValues: singularValues, bias: bias, discardedTail: tail, shrinkage: shrinkage, donors: donors)
        guard isFinite else { throw reader.refuse("a number is NaN or infinite") }
    }
}
