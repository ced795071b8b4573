@testable import LoRA
import TensorCore
import Testing

/// The items that a like is contrasted with under the sampled losses.
struct NegativeSamplingTests {
    static let identity = AdapterIdentity(seed: 17, user: "grace")

    static func draw(_ count: Int, liked: Int, of items: Int, seen: [Int] = [], step: UInt64 = 0) throws -> [Int] {
        try Evaluation.negatives(count, liked: liked, of: items, seen: seen, identity: identity, step: step)
    }

    /// Both ways of drawing: rejection, and a list of what is free when most was seen.
    @Test(arguments: [
        (20, [Int]()), (20, [1, 2, 3, 1]), (20, [4]), (20, Array(5..<19)), (20, Array(2..<20)), (2, []), (3, [0]),
    ])
    func negativesAreNeverLikedNorSeenAndUniformOverTheRest(items: Int, seen: [Int]) throws {
        let liked = min(4, items - 1)
        var counts = [Int](repeating: 0, count: items)
        let draws = 12_000
        for step in 0..<40 {
            let drawn = try Self.draw(draws / 40, liked: liked, of: items, seen: seen, step: UInt64(step))
            #expect(drawn.reduce(0, +) == draws / 40)
            for i in 0..<items { counts[i] += drawn[i] }
        }
        let free = (0..<items).filter { $0 != liked && !seen.contains($0) }
        #expect(counts.enumerated().allSatisfy { free.contains($0.offset) || $0.element == 0 })
        let expected = Double(draws) / Double(free.count)
        let chiSquare = free.reduce(0.0) {
            $0 + (Double(counts[$1]) - expected) * (Double(counts[$1]) - expected) / expected
        }
        // The 99.9 % quantile by Wilson and Hilferty.
        let freedom = Double(max(free.count - 1, 1))
        let root = 1 - 2 / (9 * freedom) + 3.0902 * (2 / (9 * freedom)).squareRoot()
        #expect(chiSquare < freedom * root * root * root, "\(counts), seed 17")
    }

    @Test func drawsAreReproducibleAndDifferFromStepToStepAndUserToUser() throws {
        let first = try Self.draw(30, liked: 3, of: 100)
        #expect(try Self.draw(30, liked: 3, of: 100) == first)
        #expect(try Self.draw(30, liked: 3, of: 100, step: 1) != first)
        let other = AdapterIdentity(seed: 17, user: "alan")
        #expect(try Evaluation.negatives(30, liked: 3, of: 100, identity: other, step: 0) != first)
    }

    /// `lossAfter` is against the items of `lossBefore`: with a step too small to matter the two agree.
    @Test(arguments: [ObjectiveConfiguration.Like.pairwise(negatives: 3), .sampledSoftmax(negatives: 3)])
    func lossBeforeAndAfterContrastWithTheSameItems(like: ObjectiveConfiguration.Like) throws {
        var random = RandomCase(seed: 17, 1)
        var adapter = try random.adapter(AdapterShape(dimension: 6, rank: 2))
        let catalogue = try random.catalogue(200, 6)
        let batch = (0..<3).map { _ in random.feedback(.like, catalogue) }
        let configuration = UpdateConfiguration.stated(
            objective: ObjectiveConfiguration.stated(like: like), learningRates: PerObjective(all: 1e-7))
        var losses: Set<Double> = []
        for _ in 0..<10 {
            let report = try adapter.update(with: batch, configuration: configuration)
            #expect(abs(report.lossAfter - report.lossBefore) < 1e-6)
            losses.insert(report.lossBefore)
        }
        // From update to update the items change.
        #expect(losses.count == 10 && (losses.max() ?? 0) - (losses.min() ?? 0) > 1e-3)
    }

    @Test func aCatalogueWithoutAnythingFreeIsRefused() throws {
        #expect(throws: LoRAError.self) { try Self.draw(1, liked: 0, of: 3, seen: [1, 2]) }
        #expect(throws: LoRAError.self) { try Self.draw(1, liked: 0, of: 3, seen: [0, 1, 2]) }
        #expect(try Self.draw(5, liked: 0, of: 3, seen: [0, 1]) == [0, 0, 5])
    }

    /// Every step count gives a generator with room for the largest batch: the last steps before the period wraps, too.
    @Test(arguments: [UInt64(1) << 28 - 1, 1 << 29 - 1, 1 << 29, 1 << 62, .max])
    func drawingNeverRunsOutOfNumbers(step: UInt64) throws {
        let evaluator = ObjectiveEvaluator(
            configuration: ObjectiveConfiguration.stated(), identity: Self.identity, step: step)
        #expect(evaluator.position + 1 << 40 < PhiloxGenerator.period)
    }
}
