public import Reasoning
internal import TensorCore

/// What somebody or something thought of a step.
public struct Score: Sendable, Hashable {
    /// Its identifier: a score is stored once under it.
    public var id: RecordID
    /// The step.
    public var span: RecordID
    /// What kind of score it is.
    public var name: Name
    /// How much.
    public var value: Double
    /// Words beside it; deleted when the step's subject is erased.
    public var comment: String?
    /// Who gave it: `user`, `judge`, a test's name.
    public var source: String?
    /// When.
    public var createdAt: Timestamp

    /// A kind of score.
    public struct Name: Sendable, Hashable, RawRepresentable, CustomStringConvertible {
        /// The name.
        public var rawValue: String
        /// A kind of the application's own: kept, and of no effect on what is learned.
        public init(rawValue: String) { self.rawValue = rawValue }
        /// Stars, 1...5.
        public static let rating = Name(rawValue: "rating")
        /// A thumb: −1 down, 1 up.
        public static let thumbs = Name(rawValue: "thumbs")
        /// A reward, −1...1.
        public static let reward = Name(rawValue: "reward")
        /// The name.
        public var description: String { rawValue }
    }

    /// A score.
    public init(
        _ name: Name, _ value: Double, of span: RecordID, id: RecordID? = nil, comment: String? = nil,
        source: String? = nil, at moment: Timestamp
    ) {
        (self.name, self.value, self.span, self.id) = (name, value, span, id ?? RecordID(at: moment))
        (self.comment, self.source, createdAt) = (comment, source, moment)
    }

    /// The score as a reward, −1...1: stars have their middle at 3; `nil` for kinds of the application's own.
    public var reward: Double? {
        switch name {
        case .rating: (value - 3) / 2
        case .thumbs, .reward: value
        default: nil
        }
    }

    /// Why it cannot be kept; `nil` where it can.
    package func refusal(_ operation: String) -> RecordError? {
        func invalid(_ what: String) -> RecordError { RecordError(.invalid, operation, what) }
        if name.rawValue.isEmpty || SpanRecord.fitting(name.rawValue) != name.rawValue {
            return invalid("the name is empty, longer than \(SpanRecord.longestName) bytes or holds a 0")
        }
        guard value.isFinite else { return invalid("the value is \(value)") }
        switch name {
        case .rating where !(1...5).contains(value): return invalid("the rating is \(value): it may be 1...5")
        case .thumbs where value != 1 && value != -1: return invalid("the thumb is \(value): it may be -1 or 1")
        case .reward where !(-1...1).contains(value): return invalid("the reward is \(value): it may be -1...1")
        default: break
        }
        for text in [comment, source] {
            if let text, text.utf8.count > 64 << 10 || text.utf8.contains(0) {
                return invalid("the comment or source has more than 64 KiB or holds a 0")
            }
        }
        return nil
    }

    /// The score as a JSON object: what its message says. Without comment.
    package var json: [UInt8] {
        var json = JSONOutput()
        write(to: &json, comment: nil)
        return json.bytes
    }

    func write(to json: inout JSONOutput, comment: String?) {
        json.beginObject()
        json.member("id", id.description)
        json.member("span_id", span.description)
        json.member("name", name.rawValue)
        json.member("value", value)
        if let comment { json.member("comment", comment) }
        json.member("source", source)
        json.member("created_at", createdAt)
        json.endObject()
    }
}

extension Score {
    /// Reads what ``json`` wrote; `nil` for anything else.
    package init?(message: String) {
        guard case .object(let members)? = JSONCheck.value(message)?.content else { return nil }
        func text(_ name: String) -> String? {
            guard case .string(let text)? = members.first(where: { $0.key == name })?.value.content else { return nil }
            return text
        }
        let value: Double
        switch members.first(where: { $0.key == "value" })?.value.content {
        case .number(let number): value = number
        case .integer(let number): value = Double(number)
        default: return nil
        }
        guard let id = text("id").flatMap({ RecordID($0) }), let span = text("span_id").flatMap({ RecordID($0) }),
            let name = text("name"), let moment = text("created_at").flatMap({ Timestamp(utc: $0) })
        else { return nil }
        self.init(Name(rawValue: name), value, of: span, id: id, source: text("source"), at: moment)
        if refusal("read") != nil { return nil }
    }
}
