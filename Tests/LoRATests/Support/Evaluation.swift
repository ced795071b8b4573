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
        let needs = GradientPass.Needs(shape, batch, samples: feedback.count, squares: true)
        self = try ScratchArena().withScratch(
            capacity: needs.floats, buffers: needs.buffers
        ) { taker throws(LoRAError) in
            var pass = GradientPass(
                needs, shape, adapter.identity, step: adapter.steps, objective: configuration.objective, batch, &taker)
            let result = try adapter.parameters.withBuffer { parameters throws(LoRAError) in
                try pass.run(feedback, parameters: parameters, wants: wants)
            }
            return Evaluation(
                loss: result.loss, gradient: pass.gradient.array, squares: pass.squares?.array ?? [],
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
