internal import LoRA
internal import TensorCore

/// Random work of one shape: an adapter with no zero factor, and inputs for it.
struct Workload {
    let shape: AdapterShape
    let adapter: LoRAAdapter
    /// Embeddings; the second half repeats the first.
    let embeddings: [[Float]]
    /// A target for each; those of a repeated embedding differ, so that no adapter ever fits them all.
    let targets: [[Float]]
    /// One batch of one target for each embedding.
    let feedback: [[Feedback]]
    /// Farther targets, by which steps are checked: one that moves a parameter by less than its rounding shows nothing.
    let checkTargets: [[Float]]
    let checkFeedback: [[Feedback]]

    /// What targets are multiplied by for a check: few gradients of the first steps are clipped, and all of the last one.
    static let checkScales: [Float] = [300, 300, 300, 1e6]

    /// The embeddings that calls take turns with: few, so that they stay in the first cache like the adapter. A power of two, so
    /// that choosing one costs a mask.
    static let count = 4
    /// Plain gradient descent on the target loss, each matrix clipped to norm 1: the work that limits are known for.
    static let rate: Float = 0.01

    init(dimension: Int, rank: Int, seed: UInt64 = 7) throws {
        shape = try AdapterShape(dimension: dimension, rank: rank)
        var random = PhiloxGenerator(seed: seed, purpose: .simulation)
        func vector() -> [Float] {
            let size = 1.7 / Float(dimension).squareRoot()
            return (0..<dimension).map { _ in random.uniform(in: -size..<size) }
        }
        let some = (0..<(Self.count / 2)).map { _ in vector() }
        embeddings = some + some
        targets = (0..<Self.count).map { _ in vector() }
        feedback = zip(embeddings, targets).map { [Feedback(embedding: $0, signal: .target($1))] }
        checkTargets = zip(targets, Self.checkScales).map { target, scale in target.map { $0 * scale } }
        checkFeedback = zip(embeddings, checkTargets).map { [Feedback(embedding: $0, signal: .target($1))] }
        let bound = (6 / Float(dimension + rank)).squareRoot()
        func matrix(_ bound: Float) throws -> Matrix<Float> {
            try Matrix(rows: (0..<rank).map { _ in (0..<dimension).map { _ in random.uniform(in: -bound..<bound) } })
        }
        adapter = try LoRAAdapter(
            shape: shape, identity: AdapterIdentity(seed: seed, stream: 1), down: matrix(bound), up: matrix(0.01))
    }

    /// How an adapter of this shape learns.
    static func configuration(
        _ optimizer: Optimizer = .sgd, protection: ElasticWeightConsolidation? = nil
    ) -> UpdateConfiguration {
        UpdateConfiguration(
            optimizer: optimizer, learningRates: PerObjective(all: rate), clipping: .perMatrix,
            clipThresholds: PerObjective(all: 1), fading: PerObjective(all: 0), elasticWeightConsolidation: protection)
    }

    /// The same without the loss after the step, which the reference does not measure either.
    static func bareConfiguration(
        _ optimizer: Optimizer = .sgd, protection: ElasticWeightConsolidation? = nil
    ) -> UpdateConfiguration {
        var configuration = configuration(optimizer, protection: protection)
        configuration.measuresLossAfter = false
        return configuration
    }

    var parameterBytes: Int { shape.parameterCount * MemoryLayout<Float>.stride }
    private var vectorBytes: Int { shape.dimension * MemoryLayout<Float>.stride }

    /// A read: every parameter, the input and the output.
    var forwardBytes: Int { parameterBytes + 2 * vectorBytes }
    var forwardOperations: Int { 2 * shape.parameterCount }
    /// An update: every parameter read and written, besides `state` others for each, input and target.
    func updateBytes(state: Int = 0) -> Int { 2 * (1 + state) * parameterBytes + 2 * vectorBytes }
    /// The map, the error pulled back through B, and a multiply-add for each parameter.
    var updateOperations: Int { 2 * shape.parameterCount + shape.parameterCount + 2 * shape.parameterCount }
}

/// The same arithmetic in plain Float64 loops.
public struct PlainAdapter {
    /// Embeddings and targets.
    public typealias Samples = [(x: [Float], target: [Float])]

    let dimension: Int
    let rank: Int
    let scale: Double
    var down: [Double]
    var up: [Double]

    /// A, then B transposed.
    public var parameters: [Double] { down + up }

    /// An adapter of scale 1 with A and B transposed, each `[rank, dimension]`.
    public init(dimension: Int, rank: Int, parameters: [Float]) {
        precondition(parameters.count == 2 * dimension * rank)
        self.dimension = dimension
        self.rank = rank
        scale = 1
        down = parameters[..<(dimension * rank)].map(Double.init)
        up = parameters[(dimension * rank)...].map(Double.init)
    }

    init(_ adapter: LoRAAdapter) {
        dimension = adapter.shape.dimension
        rank = adapter.shape.rank
        scale = Double(adapter.shape.scale)
        let all = adapter.parameters.withBuffer(\.array).map(Double.init)
        down = Array(all[..<(dimension * rank)])
        up = Array(all[(dimension * rank)..<(2 * dimension * rank)])
    }

    private func hidden(_ x: [Float]) -> [Double] {
        (0..<rank).map { row in (0..<dimension).reduce(0) { $0 + down[row * dimension + $1] * Double(x[$1]) } }
    }

    /// The output for x.
    public func forward(_ x: [Float]) -> [Double] {
        let h = hidden(x)
        return (0..<dimension).map { column in
            (0..<rank).reduce(Double(x[column])) { $0 + scale * up[$1 * dimension + column] * h[$1] }
        }
    }

    /// The mean of ‖y − t‖² / dimension.
    public func loss(_ samples: Samples) -> Double {
        samples.reduce(0) { sum, sample in
            let squares = zip(forward(sample.x), sample.target).reduce(0) { sum, pair in
                sum + (pair.0 - Double(pair.1)) * (pair.0 - Double(pair.1))
            }
            return sum + squares / Double(dimension) / Double(samples.count)
        }
    }

    /// ∂A and ∂B of ‖y − t‖² / dimension.
    func gradient(_ samples: Samples) -> (down: [Double], up: [Double]) {
        var (down, up) = ([Double](repeating: 0, count: self.down.count), [Double](repeating: 0, count: self.up.count))
        for (x, target) in samples {
            let h = hidden(x)
            let error = zip(forward(x), target).map {
                2 / Double(dimension) / Double(samples.count) * ($0 - Double($1))
            }
            for row in 0..<rank {
                let back = (0..<dimension).reduce(0) { $0 + self.up[row * dimension + $1] * error[$1] }
                for column in 0..<dimension {
                    down[row * dimension + column] += scale * back * Double(x[column])
                    up[row * dimension + column] += scale * h[row] * error[column]
                }
            }
        }
        return (down, up)
    }

    /// Each matrix clipped to Frobenius norm 1.
    func clipped(_ gradient: (down: [Double], up: [Double])) -> (down: [Double], up: [Double]) {
        func clipped(_ values: [Double]) -> [Double] {
            let norm = values.reduce(0) { $0 + $1 * $1 }.squareRoot()
            return norm > 1 ? values.map { $0 / norm } : values
        }
        return (clipped(gradient.down), clipped(gradient.up))
    }

    /// θ ← θ − rate·∂L/∂θ.
    public mutating func step(_ samples: Samples, rate: Double) {
        let gradient = clipped(gradient(samples))
        for i in down.indices {
            down[i] -= rate * gradient.down[i]
            up[i] -= rate * gradient.up[i]
        }
    }
}
