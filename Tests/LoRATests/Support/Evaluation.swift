@testable import LoRA
import TensorCore

/// What one pass over a batch finds, in arrays.
struct Evaluation {
    var loss: Double
    var gradient: [Float]
    var squares: [Float]
    var smoothnessOfUp: Double
    var smoothnessOfDown: Double

    /// Runs a ``GradientPass`` over a batch at the adapter's parameters.
    init(
        _ adapter: LoRAAdapter, _ feedback: [Feedback], _ configuration: UpdateConfiguration,
        wants: GradientPass.Wanted = .gradientAndCurvature
    ) throws(LoRAError) {
        let shape = adapter.shape
        let batch = try Batch(feedback, configuration)
        let (r, d, n) = (shape.rank, shape.dimension, shape.parameterCount)
        let memory = Floats(count: 3 * r + 2 * d + batch.scratchCount + 2 * n)
        self = try memory.lend { all throws(LoRAError) in
            var used = 0
            func take(_ count: Int) -> FloatBuffer {
                used += count
                return all.slice((used - count)..<used)
            }
            let (gradient, squares) = (take(n), take(n))
            var pass = GradientPass(
                shape: shape, identity: adapter.identity, step: adapter.steps, objective: configuration.objective,
                batch: batch, hidden: take(r), scaled: take(r), back: take(r), output: take(d), error: take(d),
                scores: take(batch.scratchCount), gradient: gradient, squares: squares)
            let result = try adapter.parameters.withBuffer { parameters throws(LoRAError) in
                try pass.run(feedback, parameters: parameters, wants: wants)
            }
            return Evaluation(
                loss: result.loss, gradient: gradient.array, squares: squares.array,
                smoothnessOfUp: result.smoothnessOfUp, smoothnessOfDown: result.smoothnessOfDown)
        }
    }

    private init(
        loss: Double, gradient: [Float], squares: [Float], smoothnessOfUp: Double, smoothnessOfDown: Double
    ) {
        self.loss = loss
        self.gradient = gradient
        self.squares = squares
        self.smoothnessOfUp = smoothnessOfUp
        self.smoothnessOfDown = smoothnessOfDown
    }

    /// How often each item of a catalogue is drawn as contrast for the first sample of an update: read off the gradient of the
    /// pairwise loss over one-hot items at y = 0, where each draw pulls by 1/2.
    static func negatives(
        _ count: Int, liked: Int, of items: Int, seen: [Int] = [], identity: AdapterIdentity, step: UInt64
    ) throws(LoRAError) -> [Int] {
        var unit = Matrix<Float>(rows: items, columns: items)
        for i in 0..<items { unit[i, i] = 1 }
        let catalogue = try ItemCatalogue(vectors: unit)
        var evaluator = ObjectiveEvaluator(
            configuration: ObjectiveConfiguration.stated(like: .pairwise(negatives: count)), identity: identity,
            step: step)
        let sample = Feedback(
            embedding: [Float](repeating: 0, count: items), signal: .like(liked, in: catalogue, seen: seen))
        let memory = Floats(count: 2 * items + count + 1)
        return try memory.lend { all throws(LoRAError) in
            let gradient = all.slice(items..<(2 * items))
            _ = try evaluator.evaluate(
                sample, y: all.slice(0..<items), gradient: gradient,
                scores: all.slice((2 * items)..<(2 * items + count + 1)), wantsCurvature: false)
            return gradient.array.enumerated().map { i, pull in
                i == liked ? 0 : Int((Double(pull) * 2 * Double(count)).rounded())
            }
        }
    }
}
