import Attune

/// One adapter of a shape, trained a little so that none of its factors is zero, and random inputs for it.
struct AdapterCases {
    /// Rows in a batch for one user.
    private static let batch = 32

    private let name: String
    private let adapter: LoRAAdapter
    private let configuration = UpdateConfiguration()
    private let embeddings: [[Float]]
    private let batch: Matrix<Float>
    /// One batch of feedback, of one sample, for each embedding: a target near it.
    private let feedback: [[Feedback]]

    init(dimension: Int, rank: Int) throws {
        name = "\(dimension)/\(rank)"
        var random = PhiloxGenerator(seed: 7, purpose: .simulation)
        // A power of two, so that choosing the next input costs a mask and not a division.
        embeddings = (0..<64).map { _ in (0..<dimension).map { _ in Float(random.normal()) } }
        batch = try Matrix(rows: Array(embeddings.prefix(Self.batch)))
        feedback = embeddings.map { embedding in
            [Feedback(embedding: embedding, signal: .target(embedding.map { $0 + 0.1 * Float(random.normal()) }))]
        }
        var adapter = LoRAAdapter(
            shape: try AdapterShape(dimension: dimension, rank: rank),
            identity: AdapterIdentity(seed: 7, user: "benchmark"))
        for sample in feedback { _ = try adapter.update(with: sample, configuration: configuration) }
        self.adapter = adapter
    }

    /// Personalizing one embedding; the result is a new array, whose allocation is part of the call.
    func forward(_ effort: Effort) throws -> Measurement {
        let result = try effort.measure("forward \(name)") { number in
            blackHole(try adapter.forward(embeddings[number & 63]))
        }
        for embedding in embeddings {
            try require(
                try adapter.forward(embedding), near: Reference(adapter).forward(embedding), result.name)
        }
        return result
    }

    /// Personalizing 32 embeddings of one user in one call.
    func forwardBatch(_ effort: Effort) throws -> Measurement {
        let result = try effort.measure("forward \(name), batch of \(Self.batch)") { _ in
            blackHole(try adapter.forward(batch))
        }
        let outputs = try adapter.forward(batch)
        for row in 0..<Self.batch {
            let output = (0..<adapter.shape.dimension).map { outputs[row, $0] }
            try require(output, near: Reference(adapter).forward(embeddings[row]), result.name)
        }
        return result
    }

    /// One update by one target, in place, with the default settings (SGD, clipped).
    func update(_ effort: Effort) throws -> Measurement {
        var updated = adapter
        let result = try effort.measure("update \(name), target, SGD") { number in
            blackHole(try updated.update(with: feedback[number & 63], configuration: configuration))
        }
        for (embedding, sample) in zip(embeddings, feedback) {
            guard case .target(let target) = sample[0].signal else { continue }
            var stepped = adapter
            let report = try stepped.update(with: sample, configuration: configuration)
            var reference = Reference(adapter)
            reference.step(embedding, target, rate: report.learningRate * report.clipFactor)
            try require(
                Reference(stepped).parameters.map(Float.init), near: reference.parameters, result.name)
        }
        return result
    }

    /// Equal within 1e-5 of the largest value.
    private func require(_ values: [Float], near expected: [Double], _ name: String) throws {
        let largest = expected.reduce(0) { max($0, abs($1)) }
        let error = zip(values, expected).reduce(0) { max($0, abs(Double($1.0) - $1.1)) }
        guard values.count == expected.count, error <= 1e-5 * largest else {
            throw WrongResult(description: "\(name): off by \(error), largest value \(largest)")
        }
    }
}

/// The same arithmetic in plain Float64 loops.
private struct Reference {
    let dimension: Int
    let rank: Int
    let scale: Double
    var down: [Double]
    var up: [Double]

    var parameters: [Double] { down + up }

    init(_ adapter: LoRAAdapter) {
        dimension = adapter.shape.dimension
        rank = adapter.shape.rank
        scale = Double(adapter.shape.scale)
        let columns = 0..<dimension
        let (a, b) = (adapter.down, adapter.up)
        down = (0..<rank).flatMap { row in columns.map { Double(a[row, $0]) } }
        up = (0..<rank).flatMap { row in columns.map { Double(b[row, $0]) } }
    }

    private func hidden(_ x: [Float]) -> [Double] {
        (0..<rank).map { row in
            (0..<dimension).reduce(0) { $0 + down[row * dimension + $1] * Double(x[$1]) }
        }
    }

    func forward(_ x: [Float]) -> [Double] {
        let h = hidden(x)
        return (0..<dimension).map { column in
            (0..<rank).reduce(Double(x[column])) { $0 + scale * up[$1 * dimension + column] * h[$1] }
        }
    }

    /// θ ← θ − rate·∂L/∂θ for L = ‖y − t‖² / dimension.
    mutating func step(_ x: [Float], _ target: [Float], rate: Double) {
        let h = hidden(x)
        let error = zip(forward(x), target).map { 2 / Double(dimension) * ($0 - Double($1)) }
        for row in 0..<rank {
            let back = (0..<dimension).reduce(0) { $0 + up[row * dimension + $1] * error[$1] }
            for column in 0..<dimension {
                down[row * dimension + column] -= rate * scale * back * Double(x[column])
                up[row * dimension + column] -= rate * scale * h[row] * error[column]
            }
        }
    }
}
