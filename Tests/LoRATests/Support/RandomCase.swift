import LoRA
import TensorCore
import Testing

/// Random adapters, items and feedback; each is named by (seed, stream), which tests print when they fail.
struct RandomCase {
    var generator: PhiloxGenerator
    let description: String

    init(seed: UInt64, _ stream: Int) {
        generator = PhiloxGenerator(seed: seed, stream: UInt64(stream), purpose: .simulation)
        description = "seed \(seed), case \(stream)"
    }

    mutating func numbers(_ count: Int, _ amplitude: Float = 1) -> [Float] {
        (0..<count).map { _ in generator.uniform(in: -1..<1) * amplitude }
    }

    mutating func matrix(_ rows: Int, _ columns: Int, _ amplitude: Float = 1) -> Matrix<Float> {
        var result = Matrix<Float>(rows: rows, columns: columns)
        let values = numbers(rows * columns, amplitude)
        result.withMutableSpan { span in for i in span.indices { span[i] = values[i] } }
        return result
    }

    mutating func pick<Element>(_ options: [Element]) -> Element { options[generator.integer(below: options.count)] }

    /// An adapter with random A, B and bias.
    mutating func adapter(_ shape: AdapterShape, _ amplitude: Float = 0.5) throws(LoRAError) -> LoRAAdapter {
        try LoRAAdapter(
            shape: shape, identity: AdapterIdentity(seed: generator.next(), stream: generator.next()),
            down: matrix(shape.rank, shape.dimension, amplitude), up: matrix(shape.rank, shape.dimension, amplitude),
            bias: shape.hasBias ? numbers(shape.dimension, amplitude) : nil)
    }

    mutating func catalogue(_ count: Int, _ dimension: Int, offsets: Bool = true) throws(LoRAError) -> ItemCatalogue {
        try ItemCatalogue(vectors: matrix(count, dimension), offsets: offsets ? numbers(count) : nil)
    }

    mutating func item(_ catalogue: ItemCatalogue) -> Item {
        generator.bernoulli(0.5)
            ? .vector(numbers(catalogue.dimension), offset: generator.uniform(in: -1..<1))
            : .catalogued(generator.integer(below: catalogue.count), catalogue)
    }

    mutating func feedback(_ kind: SignalKind, _ catalogue: ItemCatalogue) -> Feedback {
        let d = catalogue.dimension
        let signal: Feedback.Signal =
            switch kind {
            case .target: .target(numbers(d))
            case .scaledInput: .scaledInput(reward: generator.uniform(in: -1..<1))
            case .preference:
                .preference(item(catalogue), over: (0...generator.integer(below: 4)).map { _ in item(catalogue) })
            case .ranking:
                .ranking(item(catalogue), among: (0...generator.integer(below: 4)).map { _ in item(catalogue) })
            case .like:
                .like(
                    generator.integer(below: catalogue.count), in: catalogue,
                    seen: generator.sample(generator.integer(below: catalogue.count / 2), of: catalogue.count))
            case .reward: .reward(generator.uniform(in: -1..<1), for: item(catalogue))
            case .watch:
                .watch(
                    WatchEvent(
                        completion: generator.uniformFloat(), rating: 5 * generator.uniformFloat(),
                        rewatched: generator.bernoulli(0.5)), of: item(catalogue))
            }
        return Feedback(
            embedding: numbers(d), signal: signal, weight: 0.1 + generator.uniformFloat(),
            propensity: generator.bernoulli(0.3) ? 0.05 + 0.9 * generator.uniformFloat() : nil)
    }
}

/// The cases of `Feedback.Signal`.
enum SignalKind: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case target, scaledInput, preference, ranking, like, reward, watch

    var testDescription: String { rawValue }
}

extension ObjectiveConfiguration.Like {
    static var all: [Self] {
        [
            .pairwise(negatives: 4), .sampledSoftmax(negatives: 5), .sampledSoftmax(negatives: 2, wholeUpTo: 50),
            .catalogueSoftmax,
        ]
    }
}
