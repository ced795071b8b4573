package import TensorCore

extension Feedback {
    /// How much the user liked what the signal is about, −1...1: 1 for a choice.
    package func reward(_ objective: ObjectiveConfiguration) -> Float {
        switch signal {
        case .target, .preference, .ranking, .like: 1
        case .reward(let reward, _): max(-1, min(1, reward))
        case .watch(let event, _): max(-1, min(1, event.reward(neutral: objective.neutralWatchScore)))
        case .scaledInput(let reward): max(-1, min(1, reward))
        }
    }

    /// Runs `body` on the vector that the user liked; not at all where there is none, for example after a bad reward.
    package func withLiked(reward: Float, _ body: (FloatBuffer) -> Void) {
        guard reward > 0 else { return }
        switch signal {
        case .target(let target): target.span.withBuffer(body)
        case .preference(let item, _), .ranking(let item, _), .reward(_, let item), .watch(_, let item):
            item.withVector(body)
        case .like(let index, let catalogue, _):
            guard index >= 0, index < catalogue.count else { return }
            catalogue.vectors.withRow(index) { $0.withBuffer(body) }
        case .scaledInput: embedding.span.withBuffer(body)
        }
    }
}
