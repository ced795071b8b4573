internal import TensorCore

// Feedback as bytes, for a journal. Items of catalogues are written as numbers; the format is in docs/formats.md.

/// A batch of feedback as bytes, and the catalogues that they refer to.
package struct EncodedFeedback {
    package let bytes: [UInt8]
    /// In the order of first use; the bytes name them by their place here.
    package let catalogues: [ItemCatalogue]
}

extension Array<Feedback> {
    /// The batch as bytes.
    ///
    /// - Complexity: O(all values given as vectors + items named).
    package func encoded() -> EncodedFeedback {
        var encoder = FeedbackEncoder()
        return encoder.encoded(self)
    }

    /// The batch that ``encoded()`` was given.
    ///
    /// - Parameters:
    ///   - dimension: The number of values of an embedding.
    ///   - catalogues: Those that were referred to, in the order of first use.
    /// - Throws: ``LoRAError`` (`malformedSnapshot`).
    package init(encoded bytes: [UInt8], dimension: Int, catalogues: [ItemCatalogue]) throws(LoRAError) {
        var decoder = FeedbackDecoder(
            reader: ContentReader(bytes, of: "feedback from a journal"), dimension: dimension, catalogues: catalogues)
        self = try decoder.feedback()
    }
}

/// What a feedback's first byte says: its signal in the lower half, and what else is there.
private enum FeedbackTag {
    static let hasWeight: UInt8 = 0x10
    static let hasPropensity: UInt8 = 0x20
    static let isItem: UInt8 = 0x40
    static let all: UInt8 = 0x7F
}

private enum SignalKind: UInt8 {
    case target, preference, ranking, like, reward, watch, scaledInput
}

private struct FeedbackEncoder: ~Copyable {
    private var writer = ByteWriter(capacity: 64)
    private var catalogues: [ItemCatalogue] = []

    mutating func encoded(_ feedback: [Feedback]) -> EncodedFeedback {
        writer.append(short: UInt(feedback.count))
        for sample in feedback { append(sample) }
        return EncodedFeedback(bytes: writer.bytes, catalogues: catalogues)
    }

    private mutating func append(_ sample: Feedback) {
        var tag = sample.signal.kind.rawValue
        if sample.weight != 1 { tag |= FeedbackTag.hasWeight }
        if sample.propensity != nil { tag |= FeedbackTag.hasPropensity }
        if sample.origin != nil { tag |= FeedbackTag.isItem }
        writer.append(tag)
        if sample.weight != 1 { writer.append(sample.weight) }
        if let propensity = sample.propensity { writer.append(propensity) }
        if let origin = sample.origin {
            append(origin.catalogue, origin.index)
        } else {
            append(sample.embedding)
        }
        switch sample.signal {
        case .target(let target): append(target)
        case .preference(let item, let others), .ranking(let item, let others):
            append(item)
            writer.append(short: UInt(others.count))
            for other in others { append(other) }
        case .like(let index, let catalogue, let seen):
            append(catalogue, index)
            writer.append(short: UInt(seen.count))
            for item in seen { writer.append(short: UInt(item)) }
        case .reward(let reward, let item):
            writer.append(reward)
            append(item)
        case .watch(let event, let item):
            writer.append(event.completion)
            writer.append(event.rating)
            writer.append(UInt8(event.rewatched ? 1 : 0))
            append(item)
        case .scaledInput(let reward): writer.append(reward)
        }
    }

    private mutating func append(_ values: [Float]) { values.span.withBuffer { writer.append($0) } }

    private mutating func append(_ catalogue: ItemCatalogue, _ index: Int) {
        let known = catalogues.firstIndex { $0.contentHash == catalogue.contentHash }
        if known == nil { catalogues.append(catalogue) }
        writer.append(short: UInt(known ?? catalogues.count - 1))
        writer.append(short: UInt(index))
    }

    /// 0 and a vector with its offset, or 1 and an item of a catalogue.
    private mutating func append(_ item: Item) {
        switch item {
        case .vector(let values, let offset):
            writer.append(UInt8(0))
            append(values)
            writer.append(offset)
        case .catalogued(let index, let catalogue):
            writer.append(UInt8(1))
            append(catalogue, index)
        }
    }
}

extension Feedback.Signal {
    fileprivate var kind: SignalKind {
        switch self {
        case .target: .target
        case .preference: .preference
        case .ranking: .ranking
        case .like: .like
        case .reward: .reward
        case .watch: .watch
        case .scaledInput: .scaledInput
        }
    }
}

private struct FeedbackDecoder {
    var reader: ContentReader
    let dimension: Int
    let catalogues: [ItemCatalogue]

    mutating func feedback() throws(LoRAError) -> [Feedback] {
        let count = try count()
        var all: [Feedback] = []
        for _ in 0..<count { all.append(try sample()) }
        try reader.end()
        return all
    }

    /// A count of things of which each takes a byte at least.
    private mutating func count() throws(LoRAError) -> Int {
        try reader.short(below: UInt64(reader.remaining) + 1)
    }

    private mutating func catalogued() throws(LoRAError) -> CataloguedItem {
        let number = try reader.short()
        guard number < catalogues.count else { throw reader.refuse("catalogue \(number) is not named") }
        let catalogue = catalogues[number]
        let index = try reader.short()
        guard index < catalogue.count else {
            throw reader.refuse("item \(index) is not in a catalogue of \(catalogue.count)")
        }
        return CataloguedItem(index: index, catalogue: catalogue)
    }

    private mutating func item() throws(LoRAError) -> Item {
        if try reader.flag() {
            let item = try catalogued()
            return .catalogued(item.index, item.catalogue)
        }
        let values = try reader.floats(dimension)
        return .vector(values, offset: try reader.float())
    }

    private mutating func items() throws(LoRAError) -> (Item, [Item]) {
        let first = try item()
        var others: [Item] = []
        for _ in 0..<(try count()) { others.append(try item()) }
        return (first, others)
    }

    mutating func sample() throws(LoRAError) -> Feedback {
        let tag = try reader.byte()
        guard tag & ~FeedbackTag.all == 0, let kind = SignalKind(rawValue: tag & 0x0F) else {
            throw reader.refuse("a signal of kind \(tag) is unknown")
        }
        let weight = tag & FeedbackTag.hasWeight == 0 ? 1 : try reader.float()
        let propensity = tag & FeedbackTag.hasPropensity == 0 ? nil : try reader.float()
        let origin = tag & FeedbackTag.isItem == 0 ? nil : try catalogued()
        let embedding = origin == nil ? try reader.floats(dimension) : []
        let signal = try signal(kind)
        if let origin {
            return Feedback(
                of: origin.index, in: origin.catalogue, signal: signal, weight: weight, propensity: propensity)
        }
        return Feedback(embedding: embedding, signal: signal, weight: weight, propensity: propensity)
    }

    private mutating func signal(_ kind: SignalKind) throws(LoRAError) -> Feedback.Signal {
        switch kind {
        case .target: return .target(try reader.floats(dimension))
        case .preference:
            let (item, others) = try items()
            return .preference(item, over: others)
        case .ranking:
            let (item, others) = try items()
            return .ranking(item, among: others)
        case .like:
            let item = try catalogued()
            var seen: [Int] = []
            for _ in 0..<(try count()) { seen.append(try reader.short()) }
            return .like(item.index, in: item.catalogue, seen: seen)
        case .reward:
            let reward = try reader.float()
            return .reward(reward, for: try item())
        case .watch:
            let (completion, rating) = (try reader.float(), try reader.float())
            let event = WatchEvent(completion: completion, rating: rating, rewatched: try reader.flag())
            return .watch(event, of: try item())
        case .scaledInput: return .scaledInput(reward: try reader.float())
        }
    }
}

extension EncodedFeedback {
    /// A batch's bytes without one of its samples.
    ///
    /// - Returns: Nothing for a batch of that sample alone; `nil` where there is no such sample.
    /// - Throws: ``LoRAError`` (`malformedSnapshot`).
    package static func bytes(
        _ bytes: [UInt8], removing sample: Int, dimension: Int, catalogues: [ItemCatalogue]
    ) throws(LoRAError) -> [UInt8]? {
        var reader = ContentReader(bytes, of: "feedback from a journal")
        let count = try reader.short(below: UInt64(bytes.count) + 1)
        guard sample >= 0, sample < count else { return nil }
        if count == 1 { return [] }
        // Where each sample ends is known only after it was read.
        var decoder = FeedbackDecoder(reader: reader, dimension: dimension, catalogues: catalogues)
        var kept = ByteWriter(capacity: bytes.count)
        kept.append(short: UInt(count - 1))
        for i in 0..<count {
            let start = bytes.count - decoder.reader.remaining
            _ = try decoder.sample()
            if i != sample { kept.append(bytes: Array(bytes[start..<(bytes.count - decoder.reader.remaining)])) }
        }
        try decoder.reader.end()
        return kept.bytes
    }
}
