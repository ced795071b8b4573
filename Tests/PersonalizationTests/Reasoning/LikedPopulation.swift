import LoRA
import Reasoning
import TensorCore

@testable import Personalization

/// Users in groups that like the same few directions: what a bank can learn something from.
struct LikedPopulation: Sendable {
    let script: Script
    let users: [String]
    let steps: Int
    private let directions: [[Float]]

    init(_ script: Script, groups: Int, users count: Int, steps: Int = 5) {
        self.script = script
        self.steps = steps
        users = (0..<count).map { "liker \($0)" }
        var generator = PhiloxGenerator(seed: 99, purpose: .simulation)
        directions = (0..<groups).map { _ in Self.unit((0..<script.dimension).map { _ in Float(generator.normal()) }) }
    }

    private static func unit(_ values: [Float]) -> [Float] {
        let norm = values.reduce(0) { $0 + $1 * $1 }.squareRoot()
        return values.map { $0 / norm }
    }

    /// A choice of something near the group's direction over two things elsewhere.
    func feedback(_ user: Int, _ step: Int) -> [Feedback] {
        var generator = PhiloxGenerator(seed: 5, stream: UInt64(user * 1000 + step), purpose: .simulation)
        func near(_ direction: [Float], _ noise: Float) -> [Float] {
            Self.unit(direction.map { $0 + noise * Float(generator.normal()) / Float(script.dimension).squareRoot() })
        }
        let nowhere = [Float](repeating: 0, count: script.dimension)
        // Queries are alike too, or nothing could be learned from one for the next.
        let query = near(directions[(user + 1) % directions.count].reversed(), 0.4)
        let liked = near(directions[user % directions.count], 0.4)
        return [
            Feedback(
                embedding: query,
                signal: .ranking(.vector(liked), among: [.vector(near(nowhere, 1)), .vector(near(nowhere, 1))]))
        ]
    }

    /// Lets all users learn, and waits for their episodes.
    func teach(_ engine: PersonalizationEngine) async throws -> LikedPopulation {
        for step in 0..<steps {
            for (i, user) in users.enumerated() { try await engine.updateAdapter(for: user, with: feedback(i, step)) }
        }
        _ = try await engine.flushReasoningBank(deadline: .seconds(60))
        return self
    }
}
