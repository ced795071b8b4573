internal import TensorCore

extension Feedback {
    /// Checks everything that came from outside: lengths, finite numbers, ranges, indices.
    ///
    /// - Complexity: O(all values given as vectors); catalogues were checked when they were made.
    func validate(for shape: AdapterShape) throws(LoRAError) {
        func refuse(_ message: String) -> LoRAError { LoRAError(.invalidFeedback, "update", message) }
        try Self.check(embedding, "the embedding", shape)
        guard weight >= 0, weight <= 1e6 else { throw refuse("the weight \(weight) is not in 0...1000000") }
        if let propensity, !(propensity > 0 && propensity <= 1) {
            throw refuse("the propensity \(propensity) is not above 0 and at most 1")
        }
        switch signal {
        case .target(let target): try Self.check(target, "the target", shape)
        case .scaledInput(let reward):
            guard reward >= -1, reward <= 1 else { throw refuse("the reward \(reward) is not in -1...1") }
        case .preference(let preferred, let others):
            guard !others.isEmpty else { throw refuse("a preference over no other item") }
            try preferred.validate("the preferred item", shape)
            for (i, other) in others.enumerated() { try other.validate("the other item \(i)", shape) }
        case .ranking(let chosen, let others):
            guard !others.isEmpty else { throw refuse("a ranking among no other item") }
            try chosen.validate("the chosen item", shape)
            for (i, other) in others.enumerated() { try other.validate("the other item \(i)", shape) }
        case .like(let index, let catalogue, let seen):
            try Item.catalogued(index, catalogue).validate("the liked item", shape)
            guard catalogue.count > 1 else { throw refuse("a catalogue of one item leaves nothing for contrast") }
            for item in seen where item < 0 || item >= catalogue.count {
                throw refuse("the seen item \(item) is not in the catalogue's 0..<\(catalogue.count)")
            }
        case .reward(let reward, let item):
            guard reward >= -1, reward <= 1 else { throw refuse("the reward \(reward) is not in -1...1") }
            try item.validate("the rewarded item", shape)
        case .watch(let event, let item):
            guard event.completion >= 0, event.completion <= 1 else {
                throw refuse("the completion \(event.completion) is not in 0...1")
            }
            guard event.rating >= 0, event.rating <= 5 else {
                throw refuse("the rating \(event.rating) is not in 0...5")
            }
            try item.validate("the watched item", shape)
        }
    }

    static func check(_ values: [Float], _ what: String, _ shape: AdapterShape) throws(LoRAError) {
        guard values.count == shape.dimension else {
            throw .length(what, "update", expected: shape.dimension, actual: values.count)
        }
        guard values.span.withBuffer({ Kernels.allFinite($0) }) else {
            let index = values.firstIndex { !$0.isFinite } ?? 0
            throw LoRAError(.nonFinite, "update", "\(what)'s value \(index) is \(values[index])")
        }
    }
}

// MARK: - Plain targets

extension Feedback {
    /// Whether there is a target and the loss is its squared distance from the map's output, which the kernels form with the
    /// output, and the feedback is in order but for whether its numbers are finite: that shows in the sums of a step, and then
    /// ``validate(for:)`` says where.
    @inline(__always)
    func hasPlausibleTarget(_ shape: AdapterShape) -> Bool {
        guard case .target(let target) = signal else { return false }
        return !shape.normalizesOutput && embedding.count == shape.dimension && target.count == shape.dimension
            && weight > 0 && weight <= 1e6 && propensity == nil
    }
}

extension Array<Feedback> {
    /// Checks every one; the error names its position.
    func validate(for shape: AdapterShape) throws(LoRAError) {
        for (i, sample) in enumerated() {
            do throws(LoRAError) { try sample.validate(for: shape) } catch { throw error.at(i) }
        }
    }
}

extension Item {
    func validate(_ what: String, _ shape: AdapterShape) throws(LoRAError) {
        switch self {
        case .vector(let values, let offset):
            try Feedback.check(values, what, shape)
            guard offset.isFinite else {
                throw LoRAError(.nonFinite, "update", "\(what)'s offset is \(offset)")
            }
        case .catalogued(let index, let catalogue):
            guard catalogue.dimension == shape.dimension else {
                throw .length(what, "update", expected: shape.dimension, actual: catalogue.dimension)
            }
            guard index >= 0, index < catalogue.count else {
                throw LoRAError(
                    .invalidFeedback, "update", "\(what), number \(index), is not in 0..<\(catalogue.count)")
            }
        }
    }
}
