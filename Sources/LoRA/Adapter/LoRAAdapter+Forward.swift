public import TensorCore

extension LoRAAdapter {
    /// Personalizes one embedding.
    ///
    /// - Parameter x: The embedding, `[dimension]`, finite.
    /// - Returns: `y`, `[dimension]`.
    /// - Throws: ``LoRAError``: `shapeMismatch`, or `nonFinite` when x or the result is not finite.
    /// - Complexity: O(rank · dimension).
    public func forward(_ x: [Float]) throws(LoRAError) -> [Float] {
        let d = shape.dimension
        guard x.count == d else { throw .length("the embedding", "forward", expected: d, actual: x.count) }
        var isFinite = false
        let y = unsafe [Float](unsafeUninitializedCapacity: d) { memory, count in
            guard let base = memory.baseAddress else { preconditionFailure("an array without memory") }
            isFinite = x.withFloats { read($0, output: unsafe FloatBuffer(base: base, count: d)) }
            count = d
        }
        guard isFinite else { throw nonFinite(x.span) }
        return y
    }

    /// Personalizes one embedding into memory that is there; the same bits as ``forward(_:)-([Float])``, without an allocation.
    ///
    /// - Parameters:
    ///   - x: The embedding, `[dimension]`, finite.
    ///   - output: Receives `y`, `[dimension]`; its contents are unspecified after an error.
    /// - Throws: ``LoRAError``: `shapeMismatch`, or `nonFinite` when x or the result is not finite.
    /// - Complexity: O(rank · dimension).
    public func forward(_ x: Span<Float>, into output: inout MutableSpan<Float>) throws(LoRAError) {
        let d = shape.dimension
        guard x.count == d, output.count == d else {
            throw .length(
                x.count == d ? "the output" : "the embedding", "forward", expected: d,
                actual: x.count == d ? output.count : x.count)
        }
        guard parameters.withBuffer({ Self.forward(x, shape, $0, &output) }), extras == nil || mix(x, &output) else {
            throw nonFinite(x)
        }
    }

    /// The output of a map with these parameters; says whether it is finite.
    @inline(__always)
    private static func forward(
        _ x: Span<Float>, _ shape: AdapterShape, _ parameters: FloatBuffer, _ output: inout MutableSpan<Float>
    ) -> Bool {
        unsafe output.withUnsafeMutableBufferPointer { memory in
            guard let base = memory.baseAddress else { return false }
            let y = unsafe FloatBuffer(base: base, count: shape.dimension)
            return x.withFloats { x in
                FloatBuffer.temporary(shape.rank) { forward(x, shape, parameters, hidden: $0, output: y) }
            }
        }
    }

    /// ``forward(_:into:)`` and the version that it used. Changes nothing: it is mutating so that a value inside another is lent,
    /// and not copied with a reference to each of its parts.
    package mutating func lentForward(
        _ x: Span<Float>, into output: inout MutableSpan<Float>
    ) throws(LoRAError) -> UInt64 {
        let d = shape.dimension
        let shape = shape
        guard x.count == d, output.count == d,
            lendParameters({ Self.forward(x, shape, $0, &output) }), extras == nil || mix(x, &output)
        else {
            // Seldom, and then it says what is wrong.
            try forward(x, into: &output)
            return version
        }
        return version
    }

    /// The same into a new array.
    package mutating func lentForward(_ x: [Float]) throws(LoRAError) -> (output: [Float], version: UInt64) {
        let shape = shape
        guard x.count == shape.dimension else { return (try forward(x), version) }
        var isFinite = false
        let y = unsafe [Float](unsafeUninitializedCapacity: shape.dimension) { memory, count in
            var span = unsafe MutableSpan(_unsafeElements: memory)
            isFinite =
                lendParameters { Self.forward(x.span, shape, $0, &span) }
                && (extras == nil || mix(x.span, &span))
            count = shape.dimension
        }
        return isFinite ? (y, version) : (try forward(x), version)
    }

    /// What is wrong where the output is not finite: the embedding, or what comes of it.
    private func nonFinite(_ x: Span<Float>) -> LoRAError {
        do throws(LoRAError) { try shape.check(x, "forward") } catch { return error }
        return Self.overflow("forward")
    }

    /// What is read, in memory that may not overlap the input; says whether it is finite.
    package func read(_ input: FloatBuffer, output: FloatBuffer) -> Bool {
        FloatBuffer.temporary(shape.rank) { read(input, hidden: $0, output: output) }
    }

    private func read(_ input: FloatBuffer, hidden: FloatBuffer, output: FloatBuffer) -> Bool {
        forward(input, hidden: hidden, output: output) && mix(input, hidden: hidden, output: output)
    }

    /// Turns the adapter's own output into the weighed one; says whether that is finite. Asked of adapters with extras alone.
    @inline(never)
    private func mix(_ x: Span<Float>, _ output: inout MutableSpan<Float>) -> Bool {
        guard let extras, extras.isMixing else { return true }
        return unsafe output.withUnsafeMutableBufferPointer { memory in
            guard let base = memory.baseAddress else { return false }
            let y = unsafe FloatBuffer(base: base, count: shape.dimension)
            return x.withFloats { x in FloatBuffer.temporary(shape.rank) { mix(x, hidden: $0, output: y) } }
        }
    }

    /// Personalizes many embeddings; each row's result is the same, to the bit, as ``forward(_:)-([Float])``'s.
    ///
    /// - Parameter inputs: The embeddings, shape `[count, dimension]`.
    /// - Returns: The personalized embeddings, `[count, dimension]`.
    /// - Throws: ``LoRAError``, with the row in ``LoRAError/position``.
    public func forward(_ inputs: Matrix<Float>) throws(LoRAError) -> Matrix<Float> {
        guard inputs.columns == shape.dimension else {
            throw .length("a row", "forward", expected: shape.dimension, actual: inputs.columns)
        }
        var outputs = Matrix<Float>(rows: inputs.rows, columns: inputs.columns)
        var failed: Int?
        let d = shape.dimension
        FloatBuffer.temporary(shape.rank) { hidden in
            inputs.withSpan { span in
                span.withFloats { x in
                    outputs.withMutableSpan { result in
                        unsafe result.withUnsafeMutableBufferPointer { memory in
                            guard let base = memory.baseAddress else { return }
                            for i in 0..<inputs.rows where failed == nil {
                                let y = unsafe FloatBuffer(base: base + i * d, count: d)
                                if !read(x.slice((i * d)..<((i + 1) * d)), hidden: hidden, output: y) { failed = i }
                            }
                        }
                    }
                }
            }
        }
        if let failed {
            throw inputs.withRow(failed) { nonFinite($0) }.at(failed)
        }
        return outputs
    }

    /// The adapter's own output, unweighed: `output ← map(input)`, `hidden ← A·input`; says whether the output is finite, which it
    /// is only where the input is. `output` may not overlap `input`.
    package func forward(_ input: FloatBuffer, hidden: FloatBuffer, output: FloatBuffer) -> Bool {
        parameters.withBuffer { Self.forward(input, shape, $0, hidden: hidden, output: output) }
    }

    @inline(__always)
    private static func forward(
        _ input: FloatBuffer, _ shape: AdapterShape, _ parameters: FloatBuffer, hidden: FloatBuffer,
        output: FloatBuffer
    ) -> Bool {
        let isFinite = Kernels.forward(
            shape.map(parameters), input, hidden: hidden, scaled: hidden, output: output)
        guard shape.normalizesOutput else { return isFinite }
        _ = normalize(output)
        return Kernels.allFinite(output)
    }

    /// The parameters as the kernels see them.
    func map(_ all: FloatBuffer) -> AdapterMap { shape.map(all) }

    /// Divides `y` by its norm, which it returns (infinite when it is beyond Float, though y is then of length 1 all the same);
    /// leaves a zero vector as it is.
    package static func normalize(_ y: FloatBuffer) -> Float {
        var squared = Kernels.squaredNorm(y)
        // Where the squares overflow or lose digits, scale by a power of two first, which rounds nothing that counts.
        var unit: Float = 1
        if !squared.isFinite { unit = 0x1p100 } else if squared < 0x1p-80 { unit = 0x1p-100 }
        if unit != 1 {
            Kernels.scale(y, by: 1 / unit)
            squared = Kernels.squaredNorm(y)
        }
        let norm = squared.squareRoot()
        if norm > 0 { Kernels.scale(y, by: 1 / norm) }
        return norm * unit
    }

    package static func overflow(_ operation: String) -> LoRAError {
        LoRAError(.nonFinite, operation, "the result is beyond the range of Float: scale the embeddings down")
    }
}
