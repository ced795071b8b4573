internal import TensorCore

extension SpanRecord {
    /// The longest name or identifier, in bytes of UTF-8.
    public static let longestName = 1_024
    /// The most bytes of one content or of the attributes.
    public static let largestContent = 64 << 20

    /// Why it cannot be kept; `nil` where it can.
    package func refusal(_ operation: String) -> RecordError? {
        func invalid(_ what: String) -> RecordError { RecordError(.invalid, operation, what) }
        let names: [(String, String?)] = [
            ("name", name), ("provider", provider), ("request model", requestModel), ("response model", responseModel),
            ("tool", tool), ("external identifier", externalID), ("agent", context.agent), ("room", context.room),
            ("entity", context.entity), ("message", context.message), ("type of the failure", failure?.type),
        ]
        for (what, text) in names {
            guard let text else { continue }
            if text.utf8.count > Self.longestName {
                return invalid("the \(what) has more than \(Self.longestName) bytes")
            }
            // SQLite's own functions, and C's, end a text there.
            if text.utf8.contains(0) { return invalid("the \(what) holds a character of number 0") }
        }
        if name.isEmpty { return invalid("it has no name") }
        for (what, number) in [
            ("duration", duration), ("time to the first chunk", timeToFirstChunk), ("input tokens", inputTokens),
            ("output tokens", outputTokens),
        ] {
            if let number, number < 0 { return invalid("the \(what) is \(number), below 0") }
        }
        if let cost, !cost.isFinite || cost < 0 { return invalid("the cost is \(cost): it may be 0 or more") }
        for (role, content) in contents where content.byteCount > Self.largestContent {
            return invalid("the \(role.rawValue) has more than \(Self.largestContent) bytes")
        }
        if let attributes {
            guard attributes.utf8.count <= Self.largestContent, JSONCheck.isObject(attributes) else {
                return invalid("the attributes are no JSON object of at most \(Self.largestContent) bytes")
            }
        }
        return nil
    }
}

/// Whether texts are JSON.
enum JSONCheck {
    private static var limits: JSONLimits {
        var limits = JSONLimits()
        limits.maximumBytes = SpanRecord.largestContent
        limits.maximumDepth = 512
        limits.maximumValues = 8 << 20
        return limits
    }

    static func value(_ text: String) -> JSONValue? {
        do throws(JSONError) { return try StrictJSON.parse(Array(text.utf8), limits: limits) } catch { return nil }
    }

    static func isObject(_ text: String) -> Bool {
        if case .object? = value(text)?.content { return true }
        return false
    }
}

extension RecordContent {
    /// The JSON text that is kept.
    package var stored: String {
        switch self {
        case .text(let text): JSONOutput.quoted(text)
        case .json(let text): JSONCheck.value(text) == nil ? JSONOutput.quoted(text) : text
        }
    }

    /// What a stored text was.
    package init(stored text: String) {
        if text.utf8.first == UInt8(ascii: "\""), case .string(let words)? = JSONCheck.value(text)?.content {
            self = .text(words)
        } else {
            self = .json(text)
        }
    }
}
